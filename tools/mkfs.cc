// mkfs.cairnfs: makes a store.

#include <string>

#include <fmt/format.h>

#include "cairn/options.h"
#include "cairn/store.h"
#include "fusefs/size.h"
#include "tools/command.h"

namespace cairn::tools {
namespace {

// As text, because 0 and "not given" differ.
struct Arguments {
  std::string store;
  std::string mode = "cas";
  std::string limit, chunk_size, segment_size;  // as written; empty: the default
  std::string compression = "lz4";
  bool force = false;
};

void describe(CLI::App& app, Arguments* arguments) {
  app.add_option("--mode", arguments->mode,
                 "cas: durable, nothing is evicted (default); cache: bounded, evicts what is not used");
  app.add_option("--limit", arguments->limit, "the most that the whole store may take on disk (cache mode only)");
  app.add_option("--chunk-size", arguments->chunk_size, "files are stored in chunks of this size (default 128K)");
  app.add_option("--segment-size", arguments->segment_size,
                 "size of one file of the log (default 32M; cache mode: limit/64, 1M to 64M)");
  app.add_option("--compression", arguments->compression, "none, lz4 (default), zstd or zstd:LEVEL");
  app.add_flag("--force", arguments->force, "replace the store that is there; everything in it is lost");
  app.add_option("STORE", arguments->store, "the directory to make it in")->required();
  app.footer("Sizes are bytes or have a suffix: 64K, 1.5G, 2T.");
}

// 0 if the option was not given: the library knows the default, which may depend on the other sizes.
Result<uint64_t> parse_geometry_size(std::string_view option, const std::string& text) {
  if (text.empty()) return uint64_t{0};
  auto size = fusefs::parse_size(text);
  if (!size) return fail(ErrorCode::kInvalid, fmt::format("{}: {}", option, size.error().message));
  // Zero stands for the default further down, and nobody who writes it means that.
  if (*size == 0) return fail(ErrorCode::kInvalid, fmt::format("{}: must be more than 0", option));
  return size;
}

// Only what is about the command line is checked here. Whether sizes fit one another, and whether the compression
// exists, is make_store()'s to say, for its other callers too.
Result<StoreGeometry> to_geometry(const Arguments& arguments) {
  StoreGeometry geometry;
  if (arguments.mode != "cas" && arguments.mode != "cache") {
    return fail(ErrorCode::kInvalid, fmt::format("unknown mode '{}'; use cas or cache", arguments.mode));
  }
  geometry.mode = arguments.mode == "cas" ? Mode::kCas : Mode::kCache;
  geometry.compression = arguments.compression;
  const struct {
    const char* option;
    const std::string& text;
    uint64_t* target;
  } sizes[] = {{"--limit", arguments.limit, &geometry.limit},
               {"--chunk-size", arguments.chunk_size, &geometry.chunk_size},
               {"--segment-size", arguments.segment_size, &geometry.segment_size}};
  for (const auto& size : sizes) {
    auto parsed = parse_geometry_size(size.option, size.text);
    if (!parsed) return fail(std::move(parsed).error());
    *size.target = *parsed;
  }
  if (geometry.mode == Mode::kCache && geometry.limit == 0) {
    return fail(ErrorCode::kInvalid, "cache mode needs --limit SIZE, the most that the store may take on disk");
  }
  return geometry;
}

}  // namespace

int run_mkfs(int argc, char** argv) {
  CLI::App app("Makes a CairnFS store.", "mkfs.cairnfs");
  Arguments arguments;
  describe(app, &arguments);
  if (auto done = parse(app, argc, argv)) return *done;
  auto geometry = to_geometry(arguments);
  if (!geometry) return complain(geometry.error().message);
  auto made = make_store(arguments.store, *geometry, arguments.force);
  if (!made) return complain(made.error().message);
  return kOk;
}

}  // namespace cairn::tools
