#include "tools/command.h"

#include <algorithm>
#include <iostream>

#include <fmt/format.h>

#include "tools/printable.h"

namespace cairn::tools {

// One line whatever is in it: scripts and logs count on that.
int complain(std::string_view message, int code) {
  fmt::print(stderr, "cairnfs: {}\n", printable(message));
  return code;
}

namespace {

// The first positional argument that is an empty string: a variable that a script has not set.
const CLI::Option* empty_argument(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    const auto& words = option->results();
    if (std::find(words.begin(), words.end(), "") != words.end()) return option;
  }
  return nullptr;
}

}  // namespace

// CLI11 throws for everything but success; nothing of that leaves this function.
std::optional<int> parse(CLI::App& app, int argc, char** argv, int usage_code) {
  try {
    app.parse(argc, argv);
    const CLI::Option* empty = empty_argument(app);
    if (empty == nullptr) return std::nullopt;
    return complain(fmt::format("{} is empty; see `{} --help`", empty->get_name(), app.get_name()), usage_code);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return kOk;
  } catch (const CLI::ParseError& error) {
    return complain(fmt::format("{}; see `{} --help`", error.what(), app.get_name()), usage_code);
  }
}

}  // namespace cairn::tools
