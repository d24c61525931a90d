// A processing element with a multiplier and an adder of their own: the product is a finished 16-bit number
// before it is added. Synthesis keeps the boundary until both are mapped to gates.
(* keep_hierarchy *)
module pe_multiplier (
    input  signed [ 7:0] activation,
    input  signed [ 7:0] weight,
    output signed [15:0] product
);
  assign product = activation * weight;
endmodule

(* keep_hierarchy *)
module pe_adder #(
    parameter ACCUMULATOR_BITS = 32
) (
    input  signed [                15:0] product,
    input  signed [ACCUMULATOR_BITS-1:0] psum,
    output signed [ACCUMULATOR_BITS-1:0] sum
);
  assign sum = psum + product;
endmodule

module pe_separate #(
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
  wire signed [15:0] product;
  wire signed [ACCUMULATOR_BITS-1:0] sum;

  pe_multiplier multiplier (
      .activation(activation),
      .weight(weight),
      .product(product)
  );
  pe_adder #(
      .ACCUMULATOR_BITS(ACCUMULATOR_BITS)
  ) adder (
      .product(product),
      .psum(psum_in),
      .sum(sum)
  );

  always @(posedge clk) begin
    activation <= a;
    weight <= w;
    psum_in <= psum;
    q <= sum;
  end
endmodule
