module pe (clk, q);
  input clk;
  output q;
  DFF f (.CK(clk), .D(q
