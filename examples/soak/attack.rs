//! Who is hit when: kills, stops and steps of clocks, at random moments.
//!
//! Always: a process that was killed comes again, one that was stopped goes on after a while, and only one at a time is
//! stopped for long. Some processes of each role are hit seldom: what is old is attacked too.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::process::{Process, Starter, set_clock, with};
use crate::random::Random;

/// The longest stop: longer than a reader's lease, and than a request to the log may take.
pub const STOP_MAX: Duration = Duration::from_secs(5);

/// How a kind of store is attacked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Writers, followers and maintainers.
    pub processes: [u32; 3],
    /// Two hits are at most so far apart.
    pub hit_pause_max: Duration,
    /// How far clocks are put from the right time, at most.
    pub clock_days: u32,
}

/// Of the moments at which one that is hit seldom would be hit, one in so many counts.
const SELDOM_ONE_IN: usize = 12;

/// A hit, of a process or of a server, waits at most so long for something to get done.
pub const PROGRESS_LIMIT: Duration = Duration::from_secs(3);

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub kills: u64,
    pub stops: u64,
    pub steps: u64,
}

/// The place of a process, which lives there again and again.
struct Seat {
    role: &'static str,
    number: u32,
    /// Whether it is hit seldom.
    old: bool,
    clock: Option<PathBuf>,
    process: Option<Process>,
    /// When it comes again, or goes on.
    next: Option<Instant>,
    stopped: bool,
}

pub struct Attack {
    seats: Vec<Seat>,
    random: Random,
    pace: Pace,
    next_hit: Instant,
    /// How much had got done at the last hit.
    progress: u64,
    pub done: Done,
}

impl Attack {
    /// Starts all processes, on the clocks that they begin with.
    pub fn start(starter: &Starter, random: Random, pace: Pace) -> std::io::Result<Self> {
        let (seats, next_hit, done) = (Vec::new(), Instant::now(), Done::default());
        let mut attack = Self { seats, random, pace, next_hit, progress: 0, done };
        for (role, count) in ["writer", "follower", "maintainer"].into_iter().zip(pace.processes) {
            for number in 0..count {
                let clock = (pace.clock_days > 0).then(|| starter.directory.join(format!("clock of {role} {number}")));
                let seat = Seat { role, number, old: number == 0, clock, process: None, next: None, stopped: false };
                attack.seats.push(seat);
            }
        }
        for index in 0..attack.seats.len() {
            attack.come(index, starter)?;
        }
        Ok(attack)
    }

    /// What is due now.
    pub fn step(&mut self, starter: &Starter) -> std::io::Result<()> {
        let now = Instant::now();
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            if let Some(ended) = seat.process.as_mut().and_then(Process::ended) {
                let log = seat.process.take().map(|process| process.log.clone());
                let message = format!("{} {} ended by itself: {ended}; see {log:?}", seat.role, seat.number);
                with(&starter.tally, |said| said.violations.push(message));
            }
            if seat.next.is_some_and(|next| next <= now) {
                seat.next = None;
                match &seat.process {
                    Some(process) => process.go_on(),
                    None => self.come(index, starter)?,
                }
                self.seats[index].stopped = false;
            }
        }
        // On a slow machine, those that came again get something done before the next are hit.
        let progress = with(&starter.tally, |said| said.progress());
        if self.next_hit <= now && (progress > self.progress || self.next_hit + PROGRESS_LIMIT <= now) {
            self.progress = progress;
            let index = self.random.below(self.seats.len());
            if !self.seats[index].old || self.random.below(SELDOM_ONE_IN) == 0 {
                self.hit(index)?;
            }
            let pause = self.random.below(self.pace.hit_pause_max.as_millis() as usize);
            self.next_hit = now + Duration::from_millis(pause as u64);
        }
        Ok(())
    }

    /// No more hits: all that are there go on and come to their end, for at most so long.
    pub fn end(&mut self, starter: &Starter, limit: Duration) {
        for seat in &mut self.seats {
            if let Some(process) = &mut seat.process {
                process.go_on();
                process.end();
            }
        }
        let end = Instant::now() + limit;
        while Instant::now() < end && self.seats.iter().any(|seat| seat.process.is_some()) {
            for seat in &mut self.seats {
                if seat.process.as_mut().and_then(Process::ended).is_some() {
                    seat.process = None;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let late = self.seats.iter().filter(|seat| seat.process.is_some()).count();
        if late > 0 {
            with(&starter.tally, |said| *said.counts.entry("ended late".to_owned()).or_default() += late as u64);
        }
        self.seats.clear();
    }

    fn come(&mut self, index: usize, starter: &Starter) -> std::io::Result<()> {
        if self.random.percent(50) {
            self.step_clock(index)?;
        }
        let seed = self.random.word();
        let seat = &mut self.seats[index];
        if let Some(clock) = seat.clock.as_ref().filter(|clock| !clock.exists()) {
            set_clock(clock, 0)?;
        }
        seat.process = Some(starter.start(seat.role, seat.number, seed, seat.clock.as_deref())?);
        Ok(())
    }

    fn hit(&mut self, index: usize) -> std::io::Result<()> {
        let now = Instant::now();
        let a_long_stop = self.seats.iter().any(|seat| seat.stopped && seat.next > Some(now + STOP_MAX / 5));
        match self.random.below(100) {
            0..70 => {
                let pause = if self.random.percent(80) { 0 } else { self.random.below(1_500) as u64 };
                let seat = &mut self.seats[index];
                if seat.process.take().is_some() {
                    self.done.kills += 1;
                    seat.stopped = false;
                    seat.next = Some(now + Duration::from_millis(pause));
                }
            }
            70..88 => {
                let long = self.random.percent(20) && !a_long_stop;
                let most = if long { STOP_MAX } else { STOP_MAX / 10 };
                let pause = Duration::from_millis(self.random.below(most.as_millis() as usize) as u64);
                let seat = &mut self.seats[index];
                if let Some(process) = seat.process.as_ref().filter(|_| !seat.stopped) {
                    process.stop();
                    self.done.stops += 1;
                    seat.stopped = true;
                    seat.next = Some(now + pause);
                }
            }
            _ => self.step_clock(index)?,
        }
        Ok(())
    }

    /// Puts the clock of a seat somewhere else: back to the right time, seconds away, or days.
    fn step_clock(&mut self, index: usize) -> std::io::Result<()> {
        let Some(clock) = self.seats[index].clock.clone() else { return Ok(()) };
        let most = match self.random.below(10) {
            0..4 => 0,
            4..7 => 90,
            _ => i64::from(self.pace.clock_days) * DAY,
        };
        let offset = self.random.below((2 * most + 1) as usize) as i64 - most;
        self.done.steps += 1;
        set_clock(&clock, offset)
    }
}
