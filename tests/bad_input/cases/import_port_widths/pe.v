module pe (clk, a, w, psum, q);
  input [1:0] clk;
  input [6:0] a;
  input [8:0] w;
  input [15:0] psum;
  output [19:0] q;
endmodule
