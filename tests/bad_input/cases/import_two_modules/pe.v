module half (a, b, y);
  input a, b;
  output y;
endmodule
module pe (clk);
  input clk;
endmodule
