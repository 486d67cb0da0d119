//! What can go wrong while rendering.

/// Result of this crate.
pub type Result<T, E = ReportError> = std::result::Result<T, E>;

/// Why no report was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The page's template failed.
    #[error("report template: {0}")]
    Template(#[from] minijinja::Error),
    /// The figures' data could not be written as JSON.
    #[error("figures of the report: {0}")]
    Json(#[from] serde_json::Error),
    /// A font file that cannot be used.
    #[error("{}: {why}", path.display())]
    Font {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        why: String,
    },
    /// A picture could not be drawn.
    #[error("{figure}: {why}")]
    Figure {
        /// The picture.
        figure: String,
        /// The reason.
        why: String,
    },
}
