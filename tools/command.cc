#include "tools/command.h"

#include <iostream>

#include <fmt/format.h>

#include "tools/printable.h"

namespace cairn::tools {

// One line whatever is in it: scripts and logs count on that.
int complain(std::string_view message, int code) {
  fmt::print(stderr, "cairnfs: {}\n", printable(message));
  return code;
}

// CLI11 throws for everything but success; nothing of that leaves this function.
std::optional<int> parse(CLI::App& app, int argc, char** argv, int usage_code) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return kOk;
  } catch (const CLI::ParseError& error) {
    return complain(fmt::format("{}; see `{} --help`", error.what(), app.get_name()), usage_code);
  }
}

}  // namespace cairn::tools
