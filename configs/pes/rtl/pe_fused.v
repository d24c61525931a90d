// A processing element whose multiplier and adder are one: synthesis sums the partial products and the
// incoming sum in one tree, with a single carry-propagating adder at its end.
module pe_fused #(
    parameter ACCUMULATOR_BITS = 32
) (
    input                                    clk,
    input signed      [                 7:0] a,
    input signed      [                 7:0] w,
    input signed      [ACCUMULATOR_BITS-1:0] psum,
    output reg signed [ACCUMULATOR_BITS-1:0] q
);
  reg signed [7:0] activation, weight;
  reg signed [ACCUMULATOR_BITS-1:0] psum_in;

  always @(posedge clk) begin
    activation <= a;
    weight <= w;
    psum_in <= psum;
    q <= psum_in + activation * weight;
  end
endmodule
