//! Parquet files of unknown origin: every size that a file claims is checked against its length before anything is
//! allocated, and the unpacked size of its pages is bounded. A damaged file is an error, whatever the damage.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use parquet::basic::{Encoding, Type as Physical};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as Parquet};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::delta::lengths;
use super::thrift::{Fault, Thrift, kind};
use crate::error::{CoreError, Result};
use crate::files;
use crate::panics::caught;

/// Maximum size of a footer in bytes; one with 100,000 column chunks has about 10 MB.
const FOOTER_LIMIT: u64 = 16 << 20;
/// Maximum number of structures that a footer lists (columns, row groups and their chunks); a reader takes up to 1 kB
/// for each.
const LISTED_LIMIT: usize = 500_000;
/// Maximum depth of a schema.
const SCHEMA_DEPTH: usize = 16;
/// Maximum size of a page header in bytes; it may hold the smallest and the largest text of the page.
const HEADER_LIMIT: u64 = 1 << 20;
/// Maximum memory of the pages unpacked at one time, over all columns read: two pages and the dictionary of each.
/// Writers make pages of 1 MiB, at most 100 MiB.
pub(super) const PAGES_LIMIT: u64 = 512 << 20;

/// A Parquet file whose footer has been checked.
pub(super) struct Guarded {
    path: PathBuf,
    file: File,
    reader: SerializedFileReader<File>,
}

impl Guarded {
    /// Opens a file and checks its footer.
    pub fn open(path: &Path) -> Result<Guarded> {
        let mut file = files::open(path)?;
        check_footer(&mut file, path)?;
        let reader = guarded(path, || {
            SerializedFileReader::new(files::open(path)?).map_err(damaged(path))
        })?;
        Ok(Guarded {
            path: path.to_owned(),
            file,
            reader,
        })
    }

    /// The columns' names, in the file's order.
    pub fn names(&self) -> Vec<String> {
        let fields = self.schema().get_fields().iter();
        fields.map(|field| field.name().to_owned()).collect()
    }

    fn schema(&self) -> &Type {
        self.reader.metadata().file_metadata().schema()
    }

    /// Calls `take` with the values of each row in the `wanted` columns, in the file's column order.
    pub fn rows<E: From<CoreError>>(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        mut take: impl FnMut(Vec<Field>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.path.clone();
        let projection = guarded(&path, || self.projection(&wanted).map_err(damaged(&path)))?;
        for index in 0..self.reader.num_row_groups() {
            let metadata = self.reader.metadata().row_group(index).clone();
            self.check_pages(&metadata, &wanted)?;
            let inner = guarded(&path, || {
                self.reader.get_row_group(index).map_err(damaged(&path))
            })?;
            let group = Checked { inner };
            let mut rows = guarded(&path, || {
                RowIter::from_row_group(Some(projection.clone()), &group).map_err(damaged(&path))
            })?;
            while let Some(row) =
                guarded(&path, || rows.next().transpose().map_err(damaged(&path)))?
            {
                take(row.into_columns().into_iter().map(|(_, f)| f).collect())?;
            }
        }
        Ok(())
    }

    fn projection(&self, wanted: &impl Fn(&str) -> bool) -> Parquet<Type> {
        let fields = self.schema().get_fields().iter();
        Type::group_type_builder(self.schema().name())
            .with_fields(fields.filter(|f| wanted(f.name())).cloned().collect())
            .build()
    }

    /// Walks the headers of the pages that will be read.
    fn check_pages(
        &mut self,
        group: &RowGroupMetaData,
        wanted: &impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut all: u64 = 0;
        for column in group.columns() {
            let root = column.column_path().parts().first();
            if root.is_some_and(|name| wanted(name)) {
                all = all.saturating_add(self.chunk_cost(column)?);
            }
        }
        match all > PAGES_LIMIT {
            true => Err(bomb(&self.path)),
            false => Ok(()),
        }
    }

    /// Memory that the pages of a column chunk take at one time.
    fn chunk_cost(&mut self, column: &ColumnChunkMetaData) -> Result<u64> {
        let broken = |why: &str| CoreError::Parquet {
            path: self.path.clone(),
            why: format!("column \"{}\": {why}", column.column_path().string()),
        };
        let from = (column.dictionary_page_offset()).unwrap_or_else(|| column.data_page_offset());
        let (from, size) = (
            u64::try_from(from).map_err(|_| broken("its place is negative"))?,
            u64::try_from(column.compressed_size()).map_err(|_| broken("its size is negative"))?,
        );
        let length = (self.file.metadata().map_err(files::io_error(&self.path))?).len();
        let end = (from.checked_add(size).filter(|end| *end <= length))
            .ok_or_else(|| broken("it ends beyond the file's end"))?;
        let (mut at, mut page, mut dictionary) = (from, 0, 0);
        while at < end {
            let header = header(&mut self.file, at, end - at)
                .map_err(files::io_error(&self.path))?
                .ok_or_else(|| broken("the header of a page is damaged"))?;
            let sizes = header.unpacked.saturating_add(header.packed);
            match header.dictionary {
                Some(values) => {
                    // A value takes at least a byte, except for flags; a text takes four more for its length.
                    let least = match column.column_type() {
                        Physical::BYTE_ARRAY => 4,
                        _ => 1,
                    };
                    if values.saturating_mul(least) > header.unpacked {
                        return Err(broken("its dictionary claims more values than it holds"));
                    }
                    let decoded = values * size_of::<ByteArray>() as u64;
                    dictionary = sizes.saturating_add(decoded);
                }
                None => page = page.max(sizes),
            }
            at = header.end.saturating_add(header.packed);
        }
        Ok(dictionary.saturating_add(page.saturating_mul(2)))
    }
}

/// The fields of a page header.
struct Header {
    /// Size on disk in bytes.
    packed: u64,
    /// Size in memory in bytes.
    unpacked: u64,
    /// Number of values of a dictionary page.
    dictionary: Option<u64>,
    /// Offset of the byte after the header.
    end: u64,
}

/// Reads a page header; `None` if it is damaged.
fn header(file: &mut File, at: u64, most: u64) -> std::io::Result<Option<Header>> {
    let mut window = 1 << 12;
    loop {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(window.min(most)).read_to_end(&mut bytes)?;
        match parse_header(&bytes) {
            Ok(found) => {
                return Ok(found.map(|header| Header {
                    end: at + header.end,
                    ..header
                }));
            }
            Err(Fault::Short) if window < most.min(HEADER_LIMIT) => window *= 16,
            Err(_) => return Ok(None),
        }
    }
}

fn parse_header(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let mut walk = Thrift::new(bytes);
    let (mut unpacked, mut packed, mut dictionary) = (None, None, None);
    walk.structure(|walk, number, of| {
        match (number, of) {
            (2, kind::I32) => unpacked = u64::try_from(walk.zigzag()?).ok(),
            (3, kind::I32) => packed = u64::try_from(walk.zigzag()?).ok(),
            (7, kind::STRUCT) => walk.structure(|walk, number, of| {
                if (number, of) != (1, kind::I32) {
                    return Ok(false);
                }
                dictionary = u64::try_from(walk.zigzag()?).ok();
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let end = walk.at() as u64;
    Ok(unpacked.zip(packed).map(|(unpacked, packed)| Header {
        packed,
        unpacked,
        dictionary,
        end,
    }))
}

/// Walks the footer and checks its size, the depth of its schema and the number of structures listed.
fn check_footer(file: &mut File, path: &Path) -> Result<()> {
    let at = || files::io_error(path);
    let broken = |why: String| CoreError::Parquet {
        path: path.to_owned(),
        why,
    };
    let length = file.metadata().map_err(at())?.len();
    let mut tail = [0; 8];
    if length < 12 {
        return Err(broken("not a readable Parquet file: too short".to_owned()));
    }
    file.seek(SeekFrom::End(-8)).map_err(at())?;
    file.read_exact(&mut tail).map_err(at())?;
    let [a, b, c, d, magic @ ..] = tail;
    let size = u64::from(u32::from_le_bytes([a, b, c, d]));
    if magic != *b"PAR1" {
        let why = "not a readable Parquet file: it does not end as one, is it whole?";
        return Err(broken(why.to_owned()));
    }
    if size > FOOTER_LIMIT || size + 8 > length {
        return Err(broken(format!(
            "not a readable Parquet file: its footer has {size} bytes, of at most {}",
            FOOTER_LIMIT.min(length - 8)
        )));
    }
    let mut bytes = vec![0; size as usize];
    file.seek(SeekFrom::End(-8 - size as i64)).map_err(at())?;
    file.read_exact(&mut bytes).map_err(at())?;
    let mut walk = Thrift::new(&bytes);
    let mut depth = 0;
    let walked = walk.structure(|walk, number, of| {
        let is_schema = (number, of) == (2, kind::LIST);
        if is_schema {
            depth = schema_depth(walk)?;
        }
        Ok(is_schema)
    });
    if walked.is_err() {
        return Err(broken(
            "not a readable Parquet file: its footer is damaged".to_owned(),
        ));
    }
    if depth > SCHEMA_DEPTH {
        return Err(broken(format!(
            "its columns are nested {depth} deep, of at most {SCHEMA_DEPTH}"
        )));
    }
    if walk.listed > LISTED_LIMIT {
        return Err(broken(format!(
            "its footer lists {} columns, row groups and chunks, of at most {LISTED_LIMIT}",
            walk.listed
        )));
    }
    Ok(())
}

/// Depth of a schema. Its elements come depth first, each with its number of children.
fn schema_depth(walk: &mut Thrift<'_>) -> Result<usize, Fault> {
    let (count, of) = walk.list()?;
    if of != kind::STRUCT {
        return Err(Fault::Broken);
    }
    let mut open: Vec<i64> = Vec::new();
    let mut deepest = 0;
    for _ in 0..count {
        let mut children = 0;
        walk.structure(|walk, number, of| {
            if (number, of) != (5, kind::I32) {
                return Ok(false);
            }
            children = walk.zigzag()?;
            Ok(true)
        })?;
        // The reader allocates for as many children as an element claims.
        if usize::try_from(children).map_or(true, |children| children > count) {
            return Err(Fault::Broken);
        }
        while open.pop_if(|left| *left <= 0).is_some() {}
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        open.push(children);
        deepest = deepest.max(open.len());
    }
    Ok(deepest)
}

/// A row group whose pages are checked after they are unpacked.
struct Checked<'a> {
    inner: Box<dyn RowGroupReader + 'a>,
}

impl RowGroupReader for Checked<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.inner.metadata()
    }

    fn num_columns(&self) -> usize {
        self.inner.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Parquet<Box<dyn PageReader>> {
        let column = self.metadata().column(i);
        Ok(Box::new(Pages {
            inner: self.inner.get_column_page_reader(i)?,
            is_text: column.column_type() == Physical::BYTE_ARRAY,
            is_nullable: column.column_descr().max_def_level() > 0,
        }))
    }

    fn get_column_bloom_filter(&self, i: usize) -> Option<&Sbbf> {
        self.inner.get_column_bloom_filter(i)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Parquet<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// Pages whose text lengths are checked against the texts present: the decoder of delta encodings allocates what a page
/// claims.
struct Pages {
    inner: Box<dyn PageReader>,
    is_text: bool,
    is_nullable: bool,
}

impl Pages {
    fn check(&self, page: &Page) -> Parquet<()> {
        let encoding = page.encoding();
        let is_delta = matches!(
            encoding,
            Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY
        );
        if !self.is_text || !is_delta {
            return Ok(());
        }
        let broken = || ParquetError::General("a page of texts is damaged or too large".to_owned());
        let values = self.values(page).ok_or_else(broken)?;
        let most = (page.num_values() as usize).min(PAGES_LIMIT as usize / 8);
        let of = |bytes: &[u8]| lengths(bytes, most).map_err(|_| broken());
        let (prefixes, suffixes) = match encoding {
            Encoding::DELTA_BYTE_ARRAY => {
                let prefixes = of(values)?;
                (prefixes.sum, of(&values[prefixes.end..])?.sum)
            }
            _ => {
                let texts = of(values)?;
                if texts.sum > (values.len() - texts.end) as u64 {
                    return Err(broken());
                }
                (0, texts.sum)
            }
        };
        match prefixes.saturating_add(suffixes) > PAGES_LIMIT {
            true => Err(broken()),
            false => Ok(()),
        }
    }

    /// A page's values, which follow the levels.
    fn values<'p>(&self, page: &'p Page) -> Option<&'p [u8]> {
        let bytes: &[u8] = page.buffer();
        let levels = match page {
            Page::DataPageV2 {
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => def_levels_byte_len.checked_add(*rep_levels_byte_len)? as usize,
            _ if self.is_nullable => {
                let size: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
                (u32::from_le_bytes(size) as usize).checked_add(4)?
            }
            _ => 0,
        };
        bytes.get(levels..)
    }
}

impl Iterator for Pages {
    type Item = Parquet<Page>;

    fn next(&mut self) -> Option<Parquet<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Parquet<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.as_ref().map_or(Ok(()), |page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Parquet<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Parquet<()> {
        self.inner.skip_next_page()
    }
}

/// Calls the Parquet reader, which panics on some damaged files.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(read).unwrap_or_else(|_| {
        Err(CoreError::Parquet {
            path: path.to_owned(),
            why: "not a readable Parquet file: its content is damaged".to_owned(),
        })
    })
}

fn damaged(path: &Path) -> impl Fn(ParquetError) -> CoreError + '_ {
    move |e| CoreError::Parquet {
        path: path.to_owned(),
        why: format!("not a readable Parquet file: {e}"),
    }
}

fn bomb(path: &Path) -> CoreError {
    CoreError::Parquet {
        path: path.to_owned(),
        why: format!(
            "its pages unpack to more than {} MiB at one time; refused as a decompression bomb (if it is a real file, write it with smaller pages)",
            PAGES_LIMIT >> 20
        ),
    }
}
