// The array of the clocked fidelities in SystemVerilog, fault-free: the peer that bench/clocked_bench.cpp translates
// and runs. Weight-stationary, int8 × int8 → int32; weights fall through a pipe of their own, carry their row's number,
// and are double-buffered: the activation marked `first` brings the shadow weight into use.
//
// One module over arrays rather than one module a PE, and one process that updates the last PE first, with blocking
// assignments: what a translator into C++ makes its fastest code of.
module systolic #(
    parameter int ROWS = 256,
    parameter int COLS = 256
) (
    input  logic                   clock,
    // Left edge: what enters row 0 … ROWS−1 in this cycle, skewed by the driver.
    input  logic signed [7:0]      activation[ROWS],
    input  logic                   valid[ROWS],
    input  logic                   first[ROWS],
    // Top edge, skewed likewise.
    input  logic signed [7:0]      weight[COLS],
    input  logic                   weight_valid[COLS],
    input  logic        [15:0]     weight_row[COLS],
    // The last row's registers.
    output logic signed [31:0]     psum[COLS],
    output logic                   psum_valid[COLS]
);
  logic signed [7:0]  act[ROWS][COLS];
  logic               act_valid[ROWS][COLS];
  logic               act_first[ROWS][COLS];
  logic signed [31:0] sum[ROWS][COLS];
  logic signed [7:0]  pipe[ROWS][COLS];
  logic               pipe_valid[ROWS][COLS];
  logic        [15:0] pipe_row[ROWS][COLS];
  logic signed [7:0]  shadow[ROWS][COLS];
  logic signed [7:0]  active[ROWS][COLS];

  always @(posedge clock) begin
    for (int r = ROWS - 1; r >= 0; r--) begin
      for (int c = COLS - 1; c >= 0; c--) begin
        automatic logic signed [7:0] a = c == 0 ? activation[r] : act[r][c-1];
        automatic logic v = c == 0 ? valid[r] : act_valid[r][c-1];
        automatic logic f = c == 0 ? first[r] : act_first[r][c-1];
        automatic logic signed [31:0] above = r == 0 ? 0 : sum[r-1][c];
        automatic logic signed [7:0] w = v && f ? shadow[r][c] : active[r][c];
        automatic logic signed [7:0] falling = r == 0 ? weight[c] : pipe[r-1][c];
        automatic logic falling_valid = r == 0 ? weight_valid[c] : pipe_valid[r-1][c];
        automatic logic [15:0] falling_row = r == 0 ? weight_row[c] : pipe_row[r-1][c];
        act[r][c] = a;
        act_valid[r][c] = v;
        act_first[r][c] = f;
        active[r][c] = w;
        sum[r][c] = above + 32'(a * w);
        pipe[r][c] = falling;
        pipe_valid[r][c] = falling_valid;
        pipe_row[r][c] = falling_row;
        if (falling_valid && falling_row == 16'(r)) shadow[r][c] = falling;
      end
    end
  end

  always_comb begin
    for (int c = 0; c < COLS; c++) begin
      psum[c] = sum[ROWS-1][c];
      psum_valid[c] = act_valid[ROWS-1][c];
    end
  end
endmodule
