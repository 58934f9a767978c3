#include "tree/paths.h"

#include <algorithm>

#include <fmt/format.h>

#include "format/tree_format.h"
#include "store/check_store.h"

namespace cairn::tree {
namespace {

constexpr size_t kDepthMax = 4096;  // names of one path; more are cut off at the front (a circle, perhaps)

struct Place {
  Ino parent = 0;
  Bytes name;
};

Result<format::Attributes> attributes_of(const Store& store, Ino ino) {
  auto value = store.get(format::attributes_key(ino));
  if (!value) return fail(std::move(value).error());
  return format::decode_attributes(value->view());
}

std::string nowhere(Ino ino) { return fmt::format("(inode {})", ino); }

// "/a/b" for the directory b in a; "" for the root.
std::string directory_path(const Store& store, Ino ino) {
  std::vector<std::string> names;
  // Bounded by kDepthMax, as damage may have made a circle of the parents.
  for (; ino != kRootIno;) {
    const auto a =
        names.size() < kDepthMax ? attributes_of(store, ino) : Result<format::Attributes>(fail(ErrorCode::kCorrupt));
    if (!a || a->parent == 0 || a->name.empty()) {
      names.push_back(nowhere(ino));
      break;
    }
    names.push_back("/" + store::escaped(a->name));
    ino = a->parent;
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) path += *name;
  return path;
}

std::string path_of(const Store& store, const Place& place) {
  return directory_path(store, place.parent) + "/" + store::escaped(place.name);
}

std::vector<Place> back_links(const Store& store, Ino ino) {
  std::vector<Place> places;
  Cursor cursor = store.scan(format::kind_prefix(ino, format::KeyKind::kBackLink));
  for (; cursor.valid(); cursor.next()) {
    // What cannot be read is left out: the report is about damage, and goes on.
    if (const auto key = format::decode_tree_key(cursor.key())) {
      places.push_back({.parent = key->number, .name = Bytes(key->name)});
    }
  }
  return places;
}

// For an inode that cannot say where it is: all entries of the tree are looked through.
std::vector<Place> entries_naming(const Store& store, Ino ino) {
  std::vector<Place> places;
  Cursor cursor = store.scan({});
  for (cursor.seek(format::inode_prefix(kRootIno)); cursor.valid(); cursor.next()) {
    const auto key = format::decode_tree_key(cursor.key());
    if (!key || key->kind != format::KeyKind::kEntry) continue;
    const auto value = cursor.value();
    if (!value) continue;
    const auto entry = format::decode_entry(value->view());
    if (entry && entry->ino == ino) places.push_back({.parent = key->ino, .name = Bytes(key->name)});
  }
  return places;
}

std::vector<Place> places_of(const Store& store, Ino ino) {
  const auto a = attributes_of(store, ino);
  // Its attributes say it, or its back links. Only with both lost all entries are looked through, which takes as long
  // as the tree is large.
  if (a && a->parent != 0) return {{.parent = a->parent, .name = a->name}};
  if (a && a->links == 0) return {};
  auto places = back_links(store, ino);
  return places.empty() && !a ? entries_naming(store, ino) : places;
}

}  // namespace

std::vector<std::string> paths_of(const Store& store, Ino ino) {
  if (ino == kRootIno) return {"/"};
  std::vector<std::string> paths;
  for (const Place& place : places_of(store, ino)) paths.push_back(path_of(store, place));
  if (paths.empty()) paths.push_back(nowhere(ino));
  return paths;
}

std::vector<std::string> affected_paths(const Store& store, ByteView key) {
  const auto parts = format::decode_tree_key(key);
  if (!parts || parts->kind == format::KeyKind::kOrphan) return {};
  // The entry itself is damaged: the path is that of the name, whatever it led to.
  if (parts->kind == format::KeyKind::kEntry) {
    return {path_of(store, {.parent = parts->ino, .name = Bytes(parts->name)})};
  }
  return paths_of(store, parts->ino);
}

}  // namespace cairn::tree
