// TRY: passes an error on to the caller.
//   TRY(file->sync());                   for Result<void>
//   TRY_ASSIGN(auto size, file->size()); for Result<T>
// Both return from the function they stand in, which returns a Result of any type; its Error is passed on as it is,
// with its message. TRY_ASSIGN is more than one statement: it needs braces under an if or a loop, and a line of its own
// (it names its temporary by the line). The value is moved out of it.
#pragma once

#include <utility>

#include "cairn/result.h"

#define CAIRN_TRY_CONCAT_(a, b) a##b
#define CAIRN_TRY_NAME_(a, b) CAIRN_TRY_CONCAT_(a, b)

#define TRY(expression)                                             \
  do {                                                              \
    if (auto try_result_ = (expression); !try_result_) [[unlikely]] \
      return ::cairn::fail(std::move(try_result_).error());         \
  } while (false)

#define TRY_ASSIGN_IMPL_(name, target, expression) \
  auto name = (expression);                        \
  if (!name) [[unlikely]]                          \
    return ::cairn::fail(std::move(name).error()); \
  target = std::move(*name)

#define TRY_ASSIGN(target, expression) TRY_ASSIGN_IMPL_(CAIRN_TRY_NAME_(try_value_, __LINE__), target, expression)
