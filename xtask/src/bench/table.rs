//! Tables, as Markdown that is also readable as it is.

/// Columns and rows of text; the first column is set left, the others right.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is no row below the headings.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| Some(r.get(c)?.chars().count())).max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            for (c, &width) in widths.iter().enumerate() {
                let cell = row.get(c).map_or("", String::as_str);
                if c == 0 { write!(f, "| {cell:<width$} ")? } else { write!(f, "| {cell:>width$} ")? }
            }
            writeln!(f, "|")?;
            if i == 0 {
                for (c, &width) in widths.iter().enumerate() {
                    if c == 0 {
                        write!(f, "|{}", "-".repeat(width + 2))?;
                    } else {
                        write!(f, "|{}:", "-".repeat(width + 1))?;
                    }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Seconds with three digits and a unit that fits.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v >= 1.0 => format!("{} s", digits(v)),
        v if v >= 1e-3 => format!("{} ms", digits(v * 1e3)),
        v => format!("{} µs", digits(v * 1e6)),
    }
}

/// A number with about three digits.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["case", "time"]);
        assert!(table.is_empty());
        table.row(["3×3×3".to_owned(), seconds(0.0123)]);
        let text = "| case  |    time |\n|-------|--------:|\n| 3×3×3 | 12.3 ms |\n";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn units_fit() {
        assert_eq!(seconds(1.234), "1.23 s");
        assert_eq!(seconds(0.1234), "123 ms");
        assert_eq!(seconds(12.3e-6), "12.3 µs");
        assert_eq!(percent(0.856), "86 %");
    }
}
