// For builds with AddressSanitizer only: SystemC 2.3.4 tells it of every switch between coroutines, but hands
// over an empty range when it switches back to the program's own stack. From then on an exception on that
// stack leaves its frames marked as dead, and the next call is reported as stack-use-after-scope. Called
// after sc_start(), this gives the stack its range back. Does nothing in other builds.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace kintsugi::sim {

inline void restore_sanitizer_stack() {
#if defined(__SANITIZE_ADDRESS__)
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* bottom = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attributes, &bottom, &size);
  pthread_attr_destroy(&attributes);
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, bottom, size);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

}  // namespace kintsugi::sim
