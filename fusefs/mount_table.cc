#include "fusefs/mount_table.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

namespace cairn::fusefs {
namespace {

// The kernel writes blanks and the like as \040.
std::string unescaped(const std::string& text) {
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// "36 35 98:0 /root /point options optional... - type source super": see proc(5).
// The number of optional fields differs, so the lone dash is what ends them.
std::optional<MountEntry> parse_line(const std::string& line) {
  std::istringstream fields(line);
  std::string id, parent, device, root, point, skipped, type, source;
  if (!(fields >> id >> parent >> device >> root >> point)) return std::nullopt;
  while (skipped != "-") {
    if (!(fields >> skipped)) return std::nullopt;
  }
  if (!(fields >> type >> source)) return std::nullopt;
  return MountEntry{.device = device, .point = unescaped(point), .type = type, .source = unescaped(source)};
}

}  // namespace

std::vector<MountEntry> parse_mount_table(std::istream& lines) {
  std::vector<MountEntry> table;
  for (std::string line; std::getline(lines, line);) {
    if (auto entry = parse_line(line)) table.push_back(std::move(*entry));
  }
  return table;
}

std::vector<MountEntry> mount_table() {
  std::ifstream file("/proc/self/mountinfo");
  return parse_mount_table(file);
}

std::optional<MountEntry> mounted_at(const std::vector<MountEntry>& table, const std::string& point) {
  // From the end: a later mount hides an earlier one.
  const auto found = std::find_if(table.rbegin(), table.rend(), [&](const MountEntry& e) { return e.point == point; });
  if (found == table.rend()) return std::nullopt;
  return *found;
}

Result<std::filesystem::path> canonical_mount_point(const std::filesystem::path& path) {
  std::error_code error;
  auto whole = std::filesystem::canonical(path, error);
  if (!error) return whole;
  // canonical() asks the mount itself, and that of a dead daemon does not answer. So only the parent is made
  // canonical.
  std::filesystem::path plain = std::filesystem::absolute(path, error).lexically_normal();
  if (!error && !plain.has_filename()) plain = plain.parent_path();  // "point/"
  auto parent = std::filesystem::canonical(plain.parent_path(), error);
  if (error) return fail(ErrorCode::kNotFound, fmt::format("{}: {}", path.string(), error.message()));
  return parent / plain.filename();
}

}  // namespace cairn::fusefs
