module pe (clk, a, w, psum, q);
  input clk;
  input [7:0] a, w;
  input [15:0] psum;
  output [15:0] q;
  wire n, m, o;
  INV u0 (.A(n), .Y(q[0]));
  INV u1 (.A(a[0]), .Y(q[1]));
  BUF u2 (.A(a[1]), .Y(q[1]));
  BUF u3 (.A(a[1]), .Y(a[0]));
  assign q[1] = psum[0];
  assign m = o;
  assign o = m;
endmodule
