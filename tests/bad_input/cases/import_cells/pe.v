module pe (clk, a, w, psum, q);
  input clk;
  input [7:0] a, w;
  input [15:0] psum;
  output [15:0] q;
  wire n, m, k;
  XOR3 u0 (.A(a[0]), .B(w[0]), .Y(n));
  AND2 u1 (.A(a[0]), .C(w[0]), .Y(m));
  LATCH u2 (.D(a[1]), .G(clk), .Q(k));
  TRISTATE u3 (.A(a[1]), .EN(a[2]), .Y(q[0]));
  OR2 u4 (.A(a[1]), .Y(q[1]));
  DFF_ENABLE u5 (.CK(clk), .D(a[3]), .E(a[4]), .Q(q[2]));
  DFF_RESET u6 (.CK(clk), .D(a[3]), .RN(a[4]), .Q(q[3]));
endmodule
