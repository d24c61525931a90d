// The SystemC library refers to sc_main even where, as under gtest, nothing calls it.
#include <systemc>

int sc_main(int, char*[]) {
  return 0;
}
