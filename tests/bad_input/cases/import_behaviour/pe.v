module pe (input clk, input [7:0] a, w, input [15:0] psum, output [15:0] q);
  wire [15:0] sum;
  always @(posedge clk) q <= sum;
endmodule
