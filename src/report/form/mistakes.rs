//! What is wrong with a form, and what a form may ask for.

/// What a form may ask for.
pub struct Limits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Fields of `data`, bands, rows and columns of a table, each.
    pub items: usize,
    /// Cells of all tables.
    pub cells: usize,
    /// How deep rows and heads nest.
    pub depth: usize,
    /// Rules.
    pub rules: usize,
    /// Terms of all equations, a cell of a sum each.
    pub terms: usize,
    /// Cells of the lists of a report.
    pub list_cells: usize,
    /// Terms of all equations over the lists of a report.
    pub list_terms: usize,
}

/// What a form may ask for: far more than official documents do, and little to a worker.
pub const LIMITS: Limits = Limits {
    bytes: 256 * 1024,
    items: 300,
    cells: 5_000,
    depth: 4,
    rules: 200,
    terms: 100_000,
    list_cells: 200_000,
    list_terms: 2_000_000,
};

/// Where a mistake is noted.
#[derive(Default)]
pub(super) struct Reader<'a> {
    pub path: &'a str,
    pub text: &'a str,
    pub mistakes: Vec<String>,
}

impl Reader<'_> {
    /// Notes a mistake at a byte of the file.
    pub(super) fn note(&mut self, at: usize, key: &str, what: &str) {
        let line = self.text.as_bytes().iter().take(at);
        let line = line.filter(|&&byte| byte == b'\n').count() + 1;
        let key = if key.is_empty() {
            String::new()
        } else {
            format!("{key}: ")
        };
        let path = self.path;
        self.mistakes.push(format!("{path}:{line}: {key}{what}"));
    }
}

/// A place in the file: the byte where it begins, and its key, as `field[3].rows[0]`.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub byte: usize,
    pub key: String,
}
