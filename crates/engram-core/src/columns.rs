//! Nullable columns of text, integers, reals and flags, to and from Parquet.

mod delta;
mod guard;
mod thrift;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::Field;
use parquet::schema::types::Type;

use crate::error::{CoreError, Result};
use crate::files::write_atomic;
use guard::Guarded;

/// A nullable column.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// UTF-8 text.
    Text(Vec<Option<String>>),
    /// 64-bit integers.
    Int(Vec<Option<i64>>),
    /// 64-bit reals.
    Real(Vec<Option<f64>>),
    /// Booleans.
    Flag(Vec<Option<bool>>),
}

impl Column {
    fn schema(&self, name: &str) -> parquet::errors::Result<Type> {
        let (physical, logical) = match self {
            Column::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Column::Int(_) => (Physical::INT64, None),
            Column::Real(_) => (Physical::DOUBLE, None),
            Column::Flag(_) => (Physical::BOOLEAN, None),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }

    fn len(&self) -> usize {
        match self {
            Column::Text(v) => v.len(),
            Column::Int(v) => v.len(),
            Column::Real(v) => v.len(),
            Column::Flag(v) => v.len(),
        }
    }
}

/// Splits nullable values into definition levels and the values that are present.
fn split<T, U>(values: &[Option<T>], convert: impl Fn(&T) -> U) -> (Vec<i16>, Vec<U>) {
    let levels = values.iter().map(|v| i16::from(v.is_some())).collect();
    (levels, values.iter().flatten().map(convert).collect())
}

fn write_column<W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Column,
) -> parquet::errors::Result<()> {
    let Some(mut writer) = group.next_column()? else {
        return Err(parquet::errors::ParquetError::General(
            "more columns than the schema has".into(),
        ));
    };
    match column {
        Column::Text(values) => {
            let (levels, values) = split(values, |v| ByteArray::from(v.as_str()));
            let writer = writer.typed::<ByteArrayType>();
            writer.write_batch(&values, Some(&levels), None)?;
        }
        Column::Int(values) => {
            let (levels, values) = split(values, |v| *v);
            let writer = writer.typed::<Int64Type>();
            writer.write_batch(&values, Some(&levels), None)?;
        }
        Column::Real(values) => {
            let (levels, values) = split(values, |v| *v);
            let writer = writer.typed::<DoubleType>();
            writer.write_batch(&values, Some(&levels), None)?;
        }
        Column::Flag(values) => {
            let (levels, values) = split(values, |v| *v);
            let writer = writer.typed::<BoolType>();
            writer.write_batch(&values, Some(&levels), None)?;
        }
    }
    writer.close()
}

/// Writes columns of equal length as one Parquet file, atomically.
///
/// # Errors
/// [`CoreError::Io`] if the file cannot be written or a value cannot be converted.
pub fn write_columns(path: &Path, columns: Vec<(&str, Column)>) -> Result<()> {
    write_groups(path, std::iter::once(columns))
}

/// Writes groups of rows as one Parquet file, atomically. All groups have the same columns; within a group they have
/// equal length. Only one group is in memory at a time.
///
/// # Errors
/// As [`write_columns`].
pub fn write_groups<'n>(
    path: &Path,
    groups: impl IntoIterator<Item = Vec<(&'n str, Column)>>,
) -> Result<()> {
    write_atomic(path, |out| {
        let mut groups = groups.into_iter().peekable();
        let columns = groups.peek().map_or(&[][..], Vec::as_slice);
        let fields = columns
            .iter()
            .map(|(name, column)| column.schema(name).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("engram")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("engram".to_owned())
            .build();
        let mut writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        for columns in groups {
            if columns.first().is_some_and(|(_, c)| c.len() > 0) {
                let mut group = writer.next_row_group()?;
                for (_, column) in &columns {
                    write_column(&mut group, column)?;
                }
                group.close()?;
            }
        }
        writer.close()?;
        Ok(())
    })
}

/// The columns of a Parquet file, by name.
#[derive(Debug, Default)]
pub struct Table {
    rows: usize,
    columns: BTreeMap<String, Vec<Field>>,
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a column has this name.
    pub fn has(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    fn cell(&self, name: &str, row: usize, path: &Path) -> Result<&Field> {
        self.columns
            .get(name)
            .and_then(|c| c.get(row))
            .ok_or_else(|| CoreError::Parquet {
                path: path.to_owned(),
                why: format!("column \"{name}\" is missing"),
            })
    }

    fn wrong(name: &str, path: &Path) -> CoreError {
        CoreError::Parquet {
            path: path.to_owned(),
            why: format!("column \"{name}\" has another type than expected"),
        }
    }

    /// A text cell.
    ///
    /// # Errors
    /// [`CoreError::Parquet`] if the column is missing or has another type; likewise for the methods below.
    pub fn text(&self, name: &str, row: usize, path: &Path) -> Result<Option<String>> {
        match self.cell(name, row, path)? {
            Field::Null => Ok(None),
            Field::Str(v) => Ok(Some(v.clone())),
            _ => Err(Self::wrong(name, path)),
        }
    }

    /// A cell that holds one word of a fixed set.
    ///
    /// # Errors
    /// As [`Table::text`]; [`CoreError::Parquet`] with column, row and value where the set has no such word.
    pub fn word<T>(&self, name: &str, row: usize, path: &Path) -> Result<T>
    where
        T: FromStr<Err = CoreError>,
    {
        let text = self.text(name, row, path)?.unwrap_or_default();
        text.parse().map_err(|why| CoreError::Parquet {
            path: path.to_owned(),
            why: format!("column \"{name}\", row {}: {why}", row + 1),
        })
    }

    /// An integer cell.
    ///
    /// # Errors
    /// As [`Table::text`].
    pub fn int(&self, name: &str, row: usize, path: &Path) -> Result<Option<i64>> {
        match self.cell(name, row, path)? {
            Field::Null => Ok(None),
            Field::Long(v) => Ok(Some(*v)),
            Field::Int(v) => Ok(Some(i64::from(*v))),
            _ => Err(Self::wrong(name, path)),
        }
    }

    /// A real cell.
    ///
    /// # Errors
    /// As [`Table::text`].
    pub fn real(&self, name: &str, row: usize, path: &Path) -> Result<Option<f64>> {
        match self.cell(name, row, path)? {
            Field::Null => Ok(None),
            Field::Double(v) => Ok(Some(*v)),
            Field::Float(v) => Ok(Some(f64::from(*v))),
            _ => Err(Self::wrong(name, path)),
        }
    }

    /// A boolean cell.
    ///
    /// # Errors
    /// As [`Table::text`].
    pub fn flag(&self, name: &str, row: usize, path: &Path) -> Result<Option<bool>> {
        match self.cell(name, row, path)? {
            Field::Null => Ok(None),
            Field::Bool(v) => Ok(Some(*v)),
            _ => Err(Self::wrong(name, path)),
        }
    }
}

/// Upper bound on the memory of a table: its cells and their texts.
const TABLE_LIMIT: usize = 4 << 30;

/// Reads all columns of a Parquet file. At most 512 MiB of pages are unpacked at a time; the table takes at most 4 GiB.
///
/// # Errors
/// [`CoreError::Io`] if the file cannot be read; [`CoreError::Parquet`] if it is damaged or exceeds these limits.
pub fn read_columns(path: &Path) -> Result<Table> {
    let mut file = Guarded::open(path)?;
    let names = file.names();
    let mut columns: Vec<Vec<Field>> = vec![Vec::new(); names.len()];
    let (mut rows, mut bytes) = (0, 0);
    file.rows(
        |_| true,
        |row| {
            for (column, field) in columns.iter_mut().zip(row) {
                // A growing vector reserves up to twice its length.
                bytes += 2 * size_of::<Field>() + text_length(&field);
                column.push(field);
            }
            rows += 1;
            match bytes > TABLE_LIMIT {
                true => Err(CoreError::Parquet {
                    path: path.to_owned(),
                    why: format!(
                        "it has more than {} GiB of cells, the most that is read",
                        TABLE_LIMIT >> 30
                    ),
                }),
                false => Ok(()),
            }
        },
    )?;
    Ok(Table {
        rows,
        columns: names.into_iter().zip(columns).collect(),
    })
}

/// A number as text. Whole numbers have no decimal point, because tools store integer columns with gaps as reals; NaN,
/// which marks the gaps, is the empty text.
fn real(value: f64) -> String {
    match value {
        _ if value.is_nan() => String::new(),
        _ if value.fract() == 0.0 && value.abs() < 9e15 => format!("{value:.0}"),
        _ => value.to_string(),
    }
}

fn text_length(field: &Field) -> usize {
    match field {
        Field::Str(text) => text.len(),
        Field::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// A Parquet file read row by row as text. At most 512 MiB of pages are unpacked at a time.
pub struct TextRows {
    file: Guarded,
    path: std::path::PathBuf,
}

impl TextRows {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`read_columns`].
    pub fn open(path: &Path) -> Result<TextRows> {
        Ok(TextRows {
            file: Guarded::open(path)?,
            path: path.to_owned(),
        })
    }

    /// The columns' names, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.file.names()
    }

    /// Calls `take` with each row's cells of the `wanted` columns, in the file's order, as text. A null cell is the
    /// empty text.
    ///
    /// # Errors
    /// As [`read_columns`]; [`CoreError::Parquet`] for a cell that is neither text nor a number; any error of `take`.
    pub fn each<E: From<CoreError>>(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        mut take: impl FnMut(&[String]) -> Result<(), E>,
    ) -> Result<(), E> {
        let names: Vec<String> = self.names().into_iter().filter(|n| wanted(n)).collect();
        let path = &self.path;
        self.file.rows(&wanted, |row| {
            let cells = names.iter().zip(row).map(|(name, field)| match field {
                Field::Null => Ok(String::new()),
                Field::Str(text) => Ok(text),
                Field::Bytes(bytes) => match bytes.as_utf8() {
                    Ok(text) => Ok(text.to_owned()),
                    Err(_) => Err(Table::wrong(name, path)),
                },
                Field::Long(value) => Ok(value.to_string()),
                Field::Int(value) => Ok(value.to_string()),
                Field::Double(value) => Ok(real(value)),
                Field::Float(value) => Ok(real(value.into())),
                _ => Err(Table::wrong(name, path)),
            });
            take(&cells.collect::<Result<Vec<_>>>()?)
        })
    }
}
