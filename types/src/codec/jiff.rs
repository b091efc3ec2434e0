//! The days and moments of `jiff`: [`Date`] as Arrow's date, [`Timestamp`] as a timestamp of UTC, [`DateTime`] as one of no time
//! zone, both in microseconds.
//!
//! Always: what is finer than a microsecond is refused with what to do about it, before it is written.

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};

use super::calendar::calendar_codec;

/// The seconds of a day.
const DAY: i64 = 86_400;

const EPOCH: Date = Date::constant(1970, 1, 1);

fn days(date: Date) -> i32 {
    (date.duration_since(EPOCH).as_secs() / DAY) as i32 // some four million
}

fn date(days: i32) -> Option<Date> {
    EPOCH.checked_add(SignedDuration::from_secs(i64::from(days) * DAY)).ok()
}

fn exact(_: Date) -> Option<&'static str> {
    None
}

fn micros(moment: Timestamp) -> i64 {
    moment.as_microsecond()
}

fn moment(micros: i64) -> Option<Timestamp> {
    // Not `from_microsecond`, which refuses the last second but for its beginning.
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    Timestamp::new(micros.div_euclid(1_000_000), nanos as i32).ok() // less than a second
}

fn inexact(moment: Timestamp) -> Option<&'static str> {
    finer(moment.subsec_nanosecond())
}

fn civil_micros(moment: DateTime) -> i64 {
    moment.duration_since(EPOCH.at(0, 0, 0, 0)).as_micros() as i64 // within ±9999 years
}

fn civil_moment(micros: i64) -> Option<DateTime> {
    EPOCH.at(0, 0, 0, 0).checked_add(SignedDuration::from_micros(micros)).ok()
}

fn civil_inexact(moment: DateTime) -> Option<&'static str> {
    finer(moment.subsec_nanosecond())
}

fn finer(nanos: i32) -> Option<&'static str> {
    (nanos % 1_000 != 0).then_some("a column has microseconds: round it (`round(jiff::Unit::Microsecond)`)")
}

calendar_codec!(Date, DATE Date32Type i32, days, date, exact);
calendar_codec!(Timestamp, TIMESTAMP TimestampMicrosecondType i64, micros, moment, inexact);
calendar_codec!(DateTime, DATE_TIME TimestampMicrosecondType i64, civil_micros, civil_moment, civil_inexact);
