module pe (a, y);
  input [1:0] a;
  output y;
  INV u7 (.A(a), .Y(y));
  INV u8 (.A(a[2]), .Y(y));
endmodule
