// Text for a terminal that others chose: names of files, mostly.
#pragma once

#include <string>
#include <string_view>

namespace cairn::tools {

// `text` as one line without anything that a terminal would obey: line breaks become spaces, other control characters \xHH.
std::string printable(std::string_view text);

}  // namespace cairn::tools
