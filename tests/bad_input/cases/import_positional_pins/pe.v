module pe (clk, q);
  input clk;
  output q;
  DFF f (clk, q, q);
endmodule
