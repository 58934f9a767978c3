#include "mount/differential/step.h"

#include <charconv>
#include <cstring>
#include <sstream>

#include <fmt/format.h>

namespace cairn::differential {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == '%' || byte >= 127) {
      out += fmt::format("%{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 2 >= text.size()) {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

int64_t to_number(std::string_view text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

void set_field(Step& step, char field, std::string_view value) {
  switch (field) {
    case 's': step.slot = static_cast<int>(to_number(value)); break;
    case 't': step.other = static_cast<int>(to_number(value)); break;
    case 'a': step.a = to_number(value); break;
    case 'b': step.b = to_number(value); break;
    case 'c': step.c = to_number(value); break;
    case 'p': step.path = unescaped(value); break;
    case 'q': step.path2 = unescaped(value); break;
    default: break;
  }
}

std::string error_text(int error) { return error == 0 ? "0" : strerrorname_np(error); }

std::string to_text(const Seen& seen) {
  if (seen.error != 0) return error_text(seen.error);
  return fmt::format(
      "mode={:o} uid={} gid={} links={} rdev={} size={} mtime_moved={} ctime_moved={} mtime_set={} "
      "content={:x} xattrs={:x}",
      seen.mode, seen.uid, seen.gid, seen.links, seen.rdev, seen.size, seen.mtime_moved, seen.ctime_moved,
      seen.mtime_set, seen.content, seen.xattrs);
}

std::string to_text(const Outcome& outcome) {
  if (outcome.result == -1) return error_text(outcome.error);
  return fmt::format("{} digest={:x}", outcome.result, outcome.digest);
}

}  // namespace

std::string to_line(const Step& step) {
  std::string line = fmt::format("{} {}", step.actor, step.call);
  if (step.slot != 0) line += fmt::format(" s={}", step.slot);
  if (step.other != 0) line += fmt::format(" t={}", step.other);
  if (step.a != 0) line += fmt::format(" a={}", step.a);
  if (step.b != 0) line += fmt::format(" b={}", step.b);
  if (step.c != 0) line += fmt::format(" c={}", step.c);
  if (!step.path.empty()) line += " p=" + escaped(step.path);
  if (!step.path2.empty()) line += " q=" + escaped(step.path2);
  return line;
}

std::optional<Step> parse_line(std::string_view line) {
  std::istringstream words{std::string(line)};
  Step step;
  if (!(words >> step.actor >> step.call) || step.actor < 0 || step.actor >= kActors) return std::nullopt;
  for (std::string word; words >> word;) {
    if (word.size() < 2 || word[1] != '=') return std::nullopt;
    set_field(step, word[0], std::string_view(word).substr(2));
  }
  if (step.slot < 0 || step.slot >= kSlots || step.other < 0 || step.other >= kSlots) return std::nullopt;
  return step;
}

std::string explain(const Report& reference, const Report& mounted) {
  constexpr std::array<const char*, kLooks> kNames = {"path", "path2", "directory", "directory2", "slot"};
  std::string text;
  const auto add = [&text](std::string_view what, const std::string& left, const std::string& right) {
    text += fmt::format("  {}: reference: {}\n  {}  mounted:   {}\n", what, left, std::string(what.size(), ' '), right);
  };
  if (!mounted.done || !reference.done) add("alive", reference.done ? "yes" : "no", mounted.done ? "yes" : "no");
  if (reference.outcome != mounted.outcome) add("result", to_text(reference.outcome), to_text(mounted.outcome));
  for (size_t i = 0; i < kLooks; ++i) {
    if (reference.seen[i] != mounted.seen[i]) add(kNames[i], to_text(reference.seen[i]), to_text(mounted.seen[i]));
  }
  if (reference.one_inode != mounted.one_inode) {
    add("one inode", std::to_string(reference.one_inode), std::to_string(mounted.one_inode));
  }
  return text;
}

}  // namespace cairn::differential
