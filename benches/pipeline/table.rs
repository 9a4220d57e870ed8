//! One row for each thing measured, in the columns that every benchmark shares.

/// What a figure should reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// Nothing is promised of it.
    None,
    /// Its median should be at least this.
    AtLeast(f64),
    /// Its median should be at most this.
    AtMost(f64),
}

/// A row of the table: the rounds of one thing measured.
pub struct Row<'a> {
    /// What was measured.
    pub what: &'a str,
    /// The unit of the rounds.
    pub unit: &'a str,
    /// A figure a round.
    pub rounds: &'a [f64],
    /// Millions of instructions a report, where they were counted.
    pub instructions: Option<f64>,
    /// What it should reach.
    pub target: Target,
}

/// The head of the columns.
pub fn head() {
    println!(
        "| {:<64} | {:<9} | {:>8} | {:>8} | {:>8} | {:>7} | {:<16} |",
        "what", "unit", "min", "median", "max", "M instr", "target"
    );
    println!("|---|---|--:|--:|--:|--:|---|");
}

/// Prints a row.
pub fn row(row: &Row<'_>) {
    let mut sorted = row.rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, median, max) = (sorted[0], median(row.rounds), sorted[sorted.len() - 1]);
    let target = match row.target {
        Target::None => String::new(),
        Target::AtLeast(least) => format!("≥ {least}: {}", met(median >= least)),
        Target::AtMost(most) => format!("≤ {most}: {}", met(median <= most)),
    };
    let instructions = row
        .instructions
        .map_or_else(String::new, |millions| format!("{millions:.1}"));
    println!(
        "| {:<64} | {:<9} | {:>8} | {:>8} | {:>8} | {:>7} | {:<16} |",
        row.what,
        row.unit,
        short(min),
        short(median),
        short(max),
        instructions,
        target
    );
}

/// The middle of the rounds.
pub fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

/// Three or four digits, which is more than rounds on a machine with other work agree on.
fn short(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
