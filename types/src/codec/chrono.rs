//! The days and moments of `chrono`: [`NaiveDate`] as Arrow's date, [`DateTime<Utc>`] as a timestamp of UTC, [`NaiveDateTime`]
//! as one of no time zone, both in microseconds.
//!
//! Always: a value that a column cannot hold is refused with what to do about it, before it is written: what is finer than a
//! microsecond, a leap second (Arrow has none), and what is beyond the years -9999 to 9999.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Utc};

use super::calendar::calendar_codec;

/// Days from the one before 0001-01-01 to 1970-01-01.
const EPOCH: i32 = 719_163;

/// The nanoseconds of a second: in a leap second there are more.
const SECOND: u32 = 1_000_000_000;

fn days(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - EPOCH
}

fn date(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(days.checked_add(EPOCH)?)
}

fn exact(_: NaiveDate) -> Option<&'static str> {
    None
}

fn micros(moment: DateTime<Utc>) -> i64 {
    // A leap second is before the next one, as in the order of the type: it is no value, but has a prefix.
    let nanos = moment.nanosecond().min(SECOND - 1);
    moment.timestamp() * 1_000_000 + i64::from(nanos / 1_000)
}

fn moment(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

fn inexact(moment: DateTime<Utc>) -> Option<&'static str> {
    match moment.nanosecond() {
        SECOND.. => Some("a column has no leap seconds: take the second before or after it"),
        nanos if nanos % 1_000 != 0 => {
            Some("a column has microseconds: round it (`trunc_subsecs(6)` of chrono::SubsecRound)")
        }
        _ => None,
    }
}

fn naive_micros(moment: NaiveDateTime) -> i64 {
    micros(moment.and_utc())
}

fn naive_moment(micros: i64) -> Option<NaiveDateTime> {
    moment(micros).map(|moment| moment.naive_utc())
}

fn naive_inexact(moment: NaiveDateTime) -> Option<&'static str> {
    inexact(moment.and_utc())
}

calendar_codec!(NaiveDate, DATE Date32Type i32, days, date, exact);
calendar_codec!(DateTime<Utc>, TIMESTAMP TimestampMicrosecondType i64, micros, moment, inexact);
calendar_codec!(NaiveDateTime, DATE_TIME TimestampMicrosecondType i64, naive_micros, naive_moment, naive_inexact);
