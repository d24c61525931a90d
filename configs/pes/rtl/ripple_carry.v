// For yosys, whose own map begins with _90_ and so comes later: carries of adders ripple from bit to bit, instead of its own prefix tree (Brent-Kung).
(* techmap_celltype = "$lcu" *)
module _80_carry_chain (
    P,
    G,
    CI,
    CO
);
  parameter WIDTH = 2;
  input [WIDTH-1:0] P, G;
  input CI;
  output [WIDTH-1:0] CO;

  genvar bit_;
  generate
    for (bit_ = 0; bit_ < WIDTH; bit_ = bit_ + 1) begin : carry
      if (bit_ == 0) assign CO[0] = G[0] | (P[0] & CI);
      else assign CO[bit_] = G[bit_] | (P[bit_] & CO[bit_-1]);
    end
  endgenerate
endmodule
