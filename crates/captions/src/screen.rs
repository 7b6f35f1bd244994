// SPDX-License-Identifier: MPL-2.0

//! Rows of the screen that cues occupy.

use std::time::Duration;

/// Cues on the screen, and the rows that they occupy.
#[derive(Debug)]
pub struct Screen {
    rows: usize,
    /// A cue that ends and another one in the same row have this gap at least, or none.
    min_gap: Duration,
    shown: Vec<Shown>,
}

#[derive(Debug)]
struct Shown {
    speaker: usize,
    end: Duration,
    row: usize,
    lines: usize,
}

impl Shown {
    /// Returns the earliest time from `time` on at which a cue may take the rows.
    fn free_from(&self, time: Duration, min_gap: Duration) -> Duration {
        match time <= self.end {
            true => self.end,
            false => time.max(self.end.saturating_add(min_gap)),
        }
    }
}

impl Screen {
    /// Creates an empty screen.
    pub fn new(rows: usize, min_gap: Duration) -> Self {
        Self { rows, min_gap, shown: Vec::new() }
    }

    /// Returns the earliest time from `time` on at which a row is free.
    pub fn next_free(&self, time: Duration) -> Duration {
        let mut time = time;
        while self.room(time) == 0
            && let Some(next) =
                self.occupying(time).map(|shown| shown.free_from(time, self.min_gap)).min()
        {
            time = next;
        }
        time
    }

    /// Returns the earliest time from `time` on at which all rows are free.
    pub fn next_free_of_all(&self, time: Duration) -> Duration {
        let ends = self.shown.iter().map(|shown| shown.free_from(time, self.min_gap));
        ends.max().map_or(time, |end| end.max(time))
    }

    /// Returns the number of free rows.
    pub fn free(&self, time: Duration) -> usize {
        (0..self.rows).filter(|&row| self.is_free(row, time)).count()
    }

    /// Returns the largest number of free rows that are next to each other.
    pub fn room(&self, time: Duration) -> usize {
        let (mut room, mut largest) = (0, 0);
        for row in 0..self.rows {
            room = if self.is_free(row, time) { room + 1 } else { 0 };
            largest = largest.max(room);
        }
        largest
    }

    /// Returns the number of rows that are not free at `time`, if no cue begins before.
    pub fn used(&self, time: Duration) -> usize {
        self.rows - self.free(time)
    }

    /// Returns the lowest of `lines` free rows: those of the speaker's last cue, else the lowest on
    /// the screen.
    pub fn place(&self, speaker: usize, lines: usize, time: Duration) -> usize {
        let fits = |&row: &usize| {
            row + lines <= self.rows && (row..row + lines).all(|row| self.is_free(row, time))
        };
        let last = self.shown.iter().rfind(|shown| shown.speaker == speaker).map(|last| last.row);
        // Rows above others are given up once there is nothing below.
        let last = last.filter(|_| self.used(time) > 0);
        last.filter(fits).or_else(|| (0..self.rows).find(fits)).unwrap_or(0)
    }

    /// Shows a cue until `end`. Cues that were over before `start` are forgotten.
    pub fn show(
        &mut self,
        speaker: usize,
        row: usize,
        lines: usize,
        start: Duration,
        end: Duration,
    ) {
        let min_gap = self.min_gap;
        self.shown.retain(|shown| shown.end.saturating_add(min_gap) > start);
        self.shown.push(Shown { speaker, end, row, lines });
    }

    fn is_free(&self, row: usize, time: Duration) -> bool {
        let mut occupying = self.occupying(time);
        !occupying.any(|shown| (shown.row..shown.row + shown.lines).contains(&row))
    }

    fn occupying(&self, time: Duration) -> impl Iterator<Item = &Shown> {
        self.shown.iter().filter(move |shown| shown.free_from(time, self.min_gap) > time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_free_after_their_cue() {
        let ms = Duration::from_millis;
        let mut screen = Screen::new(3, ms(80));
        assert_eq!((screen.room(ms(0)), screen.place(0, 2, ms(0))), (3, 0));
        screen.show(0, 0, 2, ms(0), ms(1000));
        assert_eq!((screen.room(ms(500)), screen.place(1, 1, ms(500))), (1, 2));
        screen.show(1, 2, 1, ms(500), ms(2000));
        assert_eq!((screen.room(ms(600)), screen.next_free(ms(600))), (0, ms(1000)));
        // There is no gap of 40 ms.
        assert_eq!((screen.room(ms(1040)), screen.next_free(ms(1040))), (0, ms(1080)));
        assert_eq!((screen.room(ms(1080)), screen.used(ms(1080))), (2, 1));
        // A speaker keeps the row as long as there is something below.
        screen.show(0, 0, 1, ms(1080), ms(3000));
        assert_eq!(screen.place(1, 1, ms(2000)), 2);
        assert_eq!(screen.place(1, 1, ms(4000)), 0);
    }
}
