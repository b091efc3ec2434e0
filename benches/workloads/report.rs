//! Results: collected over runs, shown to people and to programs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::limits::Limits;

/// What one run measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    pub wall_s: f64,
    pub cpu_s: f64,
    pub peak_rss_mb: f64,
    pub rss_before_mb: f64,
    /// Requests to the stores.
    pub ops: Map<String, Value>,
    /// Further figures of the workload.
    pub more: Map<String, Value>,
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// The value below which `percent` of the values are.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

pub fn spread(values: &[f64]) -> Value {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(0.0, f64::max);
    json!({ "median": median(values), "min": min, "max": max })
}

/// The median of each figure over the runs.
fn medians(maps: &[&Map<String, Value>]) -> Map<String, Value> {
    let names = maps.first().into_iter().flat_map(|map| map.keys());
    names
        .map(|name| {
            let values: Vec<f64> = maps.iter().filter_map(|map| map.get(name)?.as_f64()).collect();
            let value = if values.is_empty() { maps[0][name].clone() } else { json!(median(&values)) };
            (name.clone(), value)
        })
        .collect()
}

/// A workload's result. `limit` is what it is compared with: a name and rows per second.
pub fn result(args: &Args, samples: &[Sample], limits: &Limits, limit: Option<(&str, f64)>) -> Value {
    let of = |get: fn(&Sample) -> f64| samples.iter().map(get).collect::<Vec<_>>();
    let wall_s = of(|sample| sample.wall_s);
    let rows_per_s = args.rows as f64 / median(&wall_s);
    let mut result = json!({
        "workload": args.workload.name(),
        "mode": args.mode.name(),
        "rows": args.rows,
        "workers": args.workers,
        "store": args.store.name(),
        "log": args.log().name(),
        "compaction": args.compaction.is_on(),
        "runs": samples.len(),
        "wall_s": spread(&wall_s),
        "rows_per_s": rows_per_s,
        "cpu_s": median(&of(|sample| sample.cpu_s)),
        "peak_rss_mb": median(&of(|sample| sample.peak_rss_mb)),
        "rss_before_mb": median(&of(|sample| sample.rss_before_mb)),
        "ops": medians(&samples.iter().map(|sample| &sample.ops).collect::<Vec<_>>()),
        "limits": limits,
        "ratio_to_limit": limit.map(|(_, rows)| rows_per_s / rows),
        "limit": limit.map(|(name, _)| name),
    });
    let mut more = medians(&samples.iter().map(|sample| &sample.more).collect::<Vec<_>>());
    if let Some(idle) = samples.first().and_then(|sample| sample.more.get("idle_ops")) {
        more.insert("idle_ops".to_owned(), idle.clone());
    }
    if let Some(object) = result.as_object_mut() {
        if args.latency_ms > 0 {
            object.insert("latency_ms".to_owned(), args.latency_ms.into());
        }
        object.extend(more);
    }
    result
}

/// The figures of `larger` as ratios to those of `smallest`: of seconds, per row; of latencies and counts per append, as
/// they are.
pub fn growth(smallest: &Value, larger: &Value) -> Value {
    let Some(fields) = larger.as_object() else {
        return Value::Null;
    };
    let number = |of: &Value, name: &str| match &of[name] {
        Value::Object(spread) => spread.get("median").and_then(Value::as_f64),
        value => value.as_f64(),
    };
    let rows = number(larger, "rows").zip(number(smallest, "rows")).map_or(1.0, |(larger, smallest)| larger / smallest);
    let ratios = fields.keys().filter_map(|name| {
        let per = match name {
            name if name.ends_with("_per_s") => return None,
            name if name.ends_with("_s") => rows,
            name if name.ends_with("_us") || name.ends_with("_per_append") => 1.0,
            _ => return None,
        };
        let ratio = number(larger, name)? / number(smallest, name)? / per;
        ratio.is_finite().then(|| (name.clone(), json!(ratio)))
    });
    Value::Object(ratios.collect())
}

/// Shows a result to people, or to programs.
pub fn show(args: &Args, result: &Value) {
    match args.json {
        true => println!("{result}"),
        false => print(result),
    }
}

/// Numbers to three digits, nested values indented.
fn print(result: &Value) {
    let Some(object) = result.as_object() else {
        return;
    };
    for (name, value) in object {
        println!("{name:28} {}", text(value));
    }
    println!();
}

fn text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(name, value)| format!("{name} {}", text(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => match number.as_f64() {
            Some(value) if value.fract() != 0.0 && value.abs() < 1000.0 => format!("{value:.4}"),
            Some(value) => format!("{value:.0}"),
            None => number.to_string(),
        },
        Value::String(string) => string.clone(),
        other => other.to_string(),
    }
}
