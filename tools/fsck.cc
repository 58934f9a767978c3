// fsck.cairnfs: checks a store.

#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cairn/fsck.h"
#include "fusefs/size.h"
#include "tools/command.h"

namespace cairn::tools {
namespace {

// Exit codes are bits:
// fsck(8).
constexpr int kClean = 0;
constexpr int kCorrected = 1;
constexpr int kUncorrected = 4;
constexpr int kCouldNotCheck = 8;
constexpr int kUsage = 16;

static_assert((kCorrected & kUncorrected) == 0, "both may be true");

// -n, -p and -y mean what they mean to any fsck. -f is there because systems pass it.
struct Arguments {
  std::string store;
  bool read_only = false, yes = false, preen = false, force = false;
  bool scrub = false, rebuild_index = false, json = false, progress = false;
};

void describe(CLI::App& app, Arguments* arguments) {
  app.add_flag("-n", arguments->read_only, "change nothing");
  app.add_flag("-p", arguments->preen, "rebuild the index if that mends all there is to mend, without loss");
  app.add_flag("-y", arguments->yes, "rebuild the index if that mends anything, without loss");
  app.add_flag("-f", arguments->force, "check even what seems clean (always done); rebuild even if that mends nothing");
  app.add_flag("--scrub", arguments->scrub, "verify the checksum of every value");
  app.add_flag("--rebuild-index", arguments->rebuild_index, "make the index anew from the segments");
  app.add_flag("--json", arguments->json, "report as JSON");
  app.add_flag("--progress", arguments->progress, "with --json: name each pass on stderr");
  app.add_option("STORE", arguments->store, "the store; it may not be mounted")->required();
  app.footer(
      "Exit code: 0 clean, 1 damage mended, 4 damage left, 8 could not check, 16 wrong usage.\n"
      "The one repair of this version is the rebuilding of the index; everything else is only reported.");
}

// What cannot be meant, or nothing. Checked before the store is touched.
std::string usage_mistake(const Arguments& arguments) {
  if (static_cast<int>(arguments.read_only) + static_cast<int>(arguments.yes) + static_cast<int>(arguments.preen) > 1) {
    return "only one of -n, -p and -y can be asked for";
  }
  if (arguments.read_only && arguments.rebuild_index) return "-n changes nothing, and --rebuild-index does";
  return {};
}

// With --json, stdout carries one object and nothing else.
FsckOptions to_options(const Arguments& arguments) {
  FsckOptions options;
  options.scrub = arguments.scrub;
  options.rebuild_index = arguments.rebuild_index;
  if (!arguments.json) {
    options.progress = [](const std::string& line) { fmt::print("{}\n", line); };
  } else if (arguments.progress) {
    options.progress = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  }
  return options;
}

// -y rebuilds if that helps at all; -p, as at boot, only if nothing is left afterwards that somebody has to look at.
bool wants_rebuild(const Arguments& arguments, const FsckReport& report) {
  size_t rebuildable = 0;
  for (const FsckFinding& finding : report.findings) rebuildable += finding.rebuildable ? 1 : 0;
  if (arguments.yes) return rebuildable > 0;
  return arguments.preen && rebuildable > 0 && rebuildable == report.findings.size();
}

// Where it is: "segments/0000000000000003.seg at 4096, footer".
std::string place_of(const FsckFinding& finding) {
  if (finding.file.empty()) return finding.structure;
  return fmt::format("{} at {}, {}", finding.file, finding.offset, finding.structure);
}

void print_findings(const FsckReport& report) {
  for (const FsckFinding& finding : report.findings) {
    fmt::print("{}: {}{}\n", place_of(finding), finding.message,
               finding.rebuildable ? " (--rebuild-index mends it without loss)" : "");
    for (const std::string& path : finding.affected) fmt::print("    affects {}\n", path);
  }
}

// A rebuild that leaves damage sets both bits.
int exit_code(const FsckReport& report, bool rebuilt) {
  if (!report.findings.empty()) return kUncorrected | (rebuilt ? kCorrected : 0);
  return rebuilt ? kCorrected : kClean;
}

std::string_view verdict(int code) {
  switch (code) {
    case kClean: return "clean";
    case kCorrected: return "index rebuilt, clean now";
    case kUncorrected: return "DAMAGED";
    default: return "index rebuilt, DAMAGED still";
  }
}

void print_summary(const std::string& store, const FsckReport& report, int code) {
  fmt::print("{}: {}, {} files, {} directories, {} symlinks, {} others, {} orphans; {} of content in {}\n", store,
             verdict(code), report.files, report.directories, report.symlinks, report.others, report.orphans,
             fusefs::format_size(report.content_bytes), fusefs::format_size(report.stored_bytes));
  fmt::print("{}: {} store {}, {} segments, {} records, {} commits, {} tables; {} verified\n", store, report.mode,
             report.uuid, report.segments, report.records, report.commits, report.tables,
             fusefs::format_size(report.verified_bytes));
}

// Names of fields only ever get more. "clean" is about the store as it is now, "rebuilt" about what was done.
void print_json(const std::string& store, const FsckReport& report, int code, bool rebuilt) {
  nlohmann::ordered_json findings = nlohmann::ordered_json::array();
  for (const FsckFinding& finding : report.findings) {
    findings.push_back({{"pass", finding.pass},
                        {"file", finding.file},
                        {"structure", finding.structure},
                        {"offset", finding.offset},
                        {"message", finding.message},
                        {"affected", finding.affected},
                        {"rebuildable", finding.rebuildable}});
  }
  const nlohmann::ordered_json out = {{"store", store},
                                      {"uuid", report.uuid},
                                      {"mode", report.mode},
                                      {"exit_code", code},
                                      {"clean", report.findings.empty()},
                                      {"rebuilt", rebuilt},
                                      {"findings", findings},
                                      {"summary",
                                       {{"segments", report.segments},
                                        {"records", report.records},
                                        {"commits", report.commits},
                                        {"tables", report.tables},
                                        {"inodes", report.inodes},
                                        {"directories", report.directories},
                                        {"files", report.files},
                                        {"symlinks", report.symlinks},
                                        {"others", report.others},
                                        {"orphans", report.orphans},
                                        {"content_bytes", report.content_bytes},
                                        {"stored_bytes", report.stored_bytes},
                                        {"verified_bytes", report.verified_bytes}}}};
  // A name that is no UTF-8 must not end the report.
  fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

// With segments lost, and an index that is whole, the index is all there is of the names and small files that were in them. A
// rebuild would mend nothing and lose those. A store that cannot be opened, of which pass 4 has seen no directory, has nothing to
// lose by it.
bool rebuild_only_loses(const FsckReport& report) {
  const auto& all = report.findings;
  return report.directories > 0 &&
         std::any_of(all.begin(), all.end(), [](const auto& f) { return f.structure.starts_with("segment"); }) &&
         std::none_of(all.begin(), all.end(), [](const auto& f) { return f.rebuildable; });
}

// Looks, mends if that is asked for and would help, and looks again: what is reported at the end is what is left.
Result<FsckReport> check(const Arguments& arguments, bool* rebuilt) {
  FsckOptions options = to_options(arguments);
  if (options.rebuild_index && !arguments.force) {
    FsckOptions look;
    look.scrub = options.scrub;
    // One that cannot be checked at all may still be rebuilt.
    if (auto before = fsck(arguments.store, look); before && rebuild_only_loses(*before)) {
      if (!arguments.json) print_findings(*before);
      return fail(
          ErrorCode::kInvalid,
          fmt::format("{}: nothing of this is mended by --rebuild-index, which would lose what only the index still "
                      "knows; mount it and copy what can be read (`cairnfs export`); -f rebuilds all the same",
                      arguments.store));
    }
  }
  auto report = fsck(arguments.store, options);
  if (!report) return report;
  if (!options.rebuild_index && wants_rebuild(arguments, *report)) {
    if (!arguments.json) print_findings(*report);
    options.rebuild_index = true;
    report = fsck(arguments.store, options);
    if (!report) return report;
  }
  *rebuilt = report->rebuilt;
  if (!*rebuilt) return report;
  // What is left is what a look at the rebuilt store finds.
  if (!arguments.json) print_findings(*report);
  options.rebuild_index = false;
  return fsck(arguments.store, options);
}

}  // namespace

int run_fsck(int argc, char** argv) {
  CLI::App app("Checks a store that is not mounted.", "fsck.cairnfs");
  Arguments arguments;
  describe(app, &arguments);
  if (auto done = parse(app, argc, argv, kUsage)) return *done;
  if (const std::string mistake = usage_mistake(arguments); !mistake.empty()) return complain(mistake, kUsage);
  bool rebuilt = false;
  auto report = check(arguments, &rebuilt);
  if (!report) return complain(report.error().message, kCouldNotCheck);
  const int code = exit_code(*report, rebuilt);
  if (arguments.json) {
    print_json(arguments.store, *report, code, rebuilt);
  } else {
    print_findings(*report);
    print_summary(arguments.store, *report, code);
  }
  return code;
}

}  // namespace cairn::tools
