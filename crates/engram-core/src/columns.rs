//! Nullable columns of text, integers, reals and flags, to and from Parquet.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::Field;
use parquet::schema::types::Type;

use crate::error::{CoreError, Result};
use crate::files::{io_error, write_atomic};

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

/// Splits nullable values into definition levels and the values that are there.
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
/// [`CoreError::Io`] (a failed conversion included).
pub fn write_columns(path: &Path, columns: Vec<(&str, Column)>) -> Result<()> {
    write_atomic(path, |out| {
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
        if columns.first().is_some_and(|(_, c)| c.len() > 0) {
            let mut group = writer.next_row_group()?;
            for (_, column) in &columns {
                write_column(&mut group, column)?;
            }
            group.close()?;
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

    /// Whether there is a column of this name.
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
    /// [`CoreError::Parquet`] where the column is missing or of another type; the same for the others below.
    pub fn text(&self, name: &str, row: usize, path: &Path) -> Result<Option<String>> {
        match self.cell(name, row, path)? {
            Field::Null => Ok(None),
            Field::Str(v) => Ok(Some(v.clone())),
            _ => Err(Self::wrong(name, path)),
        }
    }

    /// A text or integer cell as text; nothing where the column is missing.
    ///
    /// # Errors
    /// [`CoreError::Parquet`] where the cell is of another type.
    pub fn word(&self, name: &str, row: usize, path: &Path) -> Result<Option<String>> {
        match self.columns.get(name).and_then(|c| c.get(row)) {
            None | Some(Field::Null) => Ok(None),
            Some(Field::Str(v)) => Ok(Some(v.clone())),
            Some(Field::Bytes(v)) => match v.as_utf8() {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => Err(Self::wrong(name, path)),
            },
            Some(Field::Long(v)) => Ok(Some(v.to_string())),
            Some(Field::Int(v)) => Ok(Some(v.to_string())),
            Some(_) => Err(Self::wrong(name, path)),
        }
    }

    /// The columns' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
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

/// Reads all columns of a Parquet file.
///
/// # Errors
/// [`CoreError::Io`]; [`CoreError::Parquet`] where the file is damaged.
pub fn read_columns(path: &Path) -> Result<Table> {
    let damaged = |e: parquet::errors::ParquetError| CoreError::Parquet {
        path: path.to_owned(),
        why: format!("not a readable Parquet file: {e}"),
    };
    let file = File::open(path).map_err(io_error(path))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let mut table = Table::default();
    for row in reader.get_row_iter(None).map_err(damaged)? {
        for (name, field) in row.map_err(damaged)?.into_columns() {
            table.columns.entry(name).or_default().push(field);
        }
        table.rows += 1;
    }
    Ok(table)
}
