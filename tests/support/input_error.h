// The text of the InputError that an action must throw.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/diagnostics.h"

namespace kintsugi::test {

template <class Action>
std::string input_error(Action&& action) {
  try {
    action();
  } catch (const common::InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError was thrown";
  return {};
}

}  // namespace kintsugi::test
