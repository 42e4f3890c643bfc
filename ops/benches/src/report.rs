//! What was measured, as a table for people and JSON for tools.

use serde_json::{Value, json};

/// One promise.
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    /// One value a round.
    pub rounds: Vec<f64>,
    /// The baseline of the same run, one value a round.
    pub baseline: Vec<f64>,
    pub must: Must,
    /// What the Python services need.
    pub they: &'static str,
}

/// What a row must reach.
#[derive(Clone, Copy)]
pub enum Must {
    AtLeast(f64),
    AtMost(f64),
    /// value / baseline
    RatioAtLeast(f64),
    RatioAtMost(f64),
    /// value - baseline
    AtMostAbove(f64),
}

pub struct Report {
    only: Option<String>,
    pub rounds: usize,
    rows: Vec<Row>,
    failures: Vec<String>,
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

pub fn percentile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => sorted[(((n - 1) as f64) * p / 100.0).round() as usize],
    }
}

impl Row {
    fn measured(&self) -> f64 {
        match self.must {
            Must::AtLeast(_) | Must::AtMost(_) => median(&self.rounds),
            Must::RatioAtLeast(_) | Must::RatioAtMost(_) => {
                let ratios: Vec<f64> = self.rounds.iter().zip(&self.baseline).map(|(v, b)| v / b).collect();
                median(&ratios)
            }
            Must::AtMostAbove(_) => {
                let above: Vec<f64> = self.rounds.iter().zip(&self.baseline).map(|(v, b)| v - b).collect();
                median(&above)
            }
        }
    }
    fn reached(&self) -> bool {
        let measured = self.measured();
        match self.must {
            Must::AtLeast(bound) | Must::RatioAtLeast(bound) => measured >= bound,
            Must::AtMost(bound) | Must::RatioAtMost(bound) | Must::AtMostAbove(bound) => measured <= bound,
        }
    }
    fn must_text(&self) -> String {
        match self.must {
            Must::AtLeast(bound) => format!("≥ {} {}", number(bound), self.unit),
            Must::AtMost(bound) => format!("≤ {} {}", number(bound), self.unit),
            Must::RatioAtLeast(bound) => format!("≥ {bound} × baseline"),
            Must::RatioAtMost(bound) => format!("≤ {bound} × baseline"),
            Must::AtMostAbove(bound) => format!("≤ baseline + {} {}", number(bound), self.unit),
        }
    }
}

impl Report {
    pub fn new(only: Option<String>, rounds: usize) -> Self {
        Self { only, rounds, rows: vec![], failures: vec![] }
    }
    /// Whether this row was asked for.
    pub fn wants(&self, what: &str) -> bool {
        self.only.as_ref().is_none_or(|only| what.contains(only.as_str()))
    }
    /// The text that rows were asked for by; empty is all.
    pub fn only(&self) -> &str {
        self.only.as_deref().unwrap_or_default()
    }
    pub fn add(&mut self, row: Row) {
        eprintln!("  {}: {} {}", row.what, number(median(&row.rounds)), row.unit);
        self.rows.push(row);
    }
    pub fn fail(&mut self, what: &str, why: &str) {
        eprintln!("  {what}: not measured: {why}");
        self.failures.push(format!("{what}: {why}"));
    }
    pub fn complete(&self) -> bool {
        self.failures.is_empty()
    }
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| What | Median | Spread | Baseline | Ratio | Must reach | They | Reached |\n|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let low = row.rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let high = row.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (baseline, ratio) = if row.baseline.is_empty() {
                ("".into(), "".into())
            } else {
                let ratios: Vec<f64> = row.rounds.iter().zip(&row.baseline).map(|(v, b)| v / b).collect();
                (number(median(&row.baseline)), format!("{:.2}", median(&ratios)))
            };
            out += &format!(
                "| {} | {} {} | {} … {} | {} | {} | {} | {} | {} |\n",
                row.what,
                number(median(&row.rounds)),
                row.unit,
                number(low),
                number(high),
                baseline,
                ratio,
                row.must_text(),
                row.they,
                if row.reached() { "yes" } else { "**no**" }
            );
        }
        for failure in &self.failures {
            out += &format!("\nNot measured: {failure}\n");
        }
        out
    }
    pub fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                json!({"what": r.what, "unit": r.unit, "median": median(&r.rounds), "rounds": r.rounds, "baseline": r.baseline,
                    "measured": r.measured(), "must": r.must_text(), "reached": r.reached(), "they": r.they})
            })
            .collect();
        format!("{:#}\n", json!({"rows": rows, "failures": self.failures}))
    }
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                out.push(',');
            }
            out.push(c);
        }
        out
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
