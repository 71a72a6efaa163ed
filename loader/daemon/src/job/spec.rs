//! The edge: a job spec as a client sent it -> a job, or an error that names the field and the cure.

use std::sync::{Arc, Mutex};

use forebay_plan::orders::joint_snapshot;
use forebay_plan::{DType, Digest, MemoryOrder, TensorSpec};
use forebay_proto::v1;

use super::arrays::{no_array_settings, plan_array};
use super::classes::{CLASS_COLUMN, Classes};
use super::clips::{no_clip_settings, plan_clip};
use super::device_decode::{check_device_decode, device_can_do, numbers_field, numbers_name};
use super::digest::content_digest;
use super::fields::{FieldMaker, FieldPlan};
use super::images::{image_field, no_image_settings};
use super::located::{Located, is_of_places};
use super::order::{JobOrder, order};
use super::raw_fields::plan_raw;
use super::token_fields::{is_of_tokens, no_token_settings, packed_can_do, plan_tokens};
use super::values::ValueMaker;
use super::{Job, JobSource, VALID, known, parts};
use crate::catalog::{Column, ColumnKind, Snapshot, names_column};
use crate::error::Fault;
use crate::transform::VIEWS_MAX;

const JOB_ID_BYTES_MAX: usize = 128;
const SOURCE_NAME_BYTES_MAX: usize = 64;
const FIELDS_MAX: usize = 32;

/// What a corrupt sample does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The session ends with an error that names it.
    Fail,
    /// Another sample of the epoch, drawn by the PRF, stands in the row.
    Substitute,
    /// Zeros stand in the row, and `valid` is 0.
    Mask,
}

impl Policy {
    /// Its name in digests and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Substitute => "substitute",
            Self::Mask => "mask",
        }
    }
}

/// The policy and its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSample {
    /// What happens to the row.
    pub policy: Policy,
    /// The session fails past this many in one epoch. `None`: no budget.
    pub budget_count: Option<u64>,
}

/// Makes a job of a spec and the one snapshot that it names; see [`resolve_all`].
///
/// # Errors
/// As [`resolve_all`].
pub fn resolve(spec: &v1::JobSpec, snapshot: Arc<Snapshot>) -> Result<Job, Fault> {
    resolve_all(spec, vec![snapshot])
}

/// Makes a job of a spec and the snapshots that its sources name, in their order. Every default is filled in before
/// the content is named.
///
/// # Errors
/// Invalid, naming what in the spec is wrong; Unimplemented, naming what is reserved.
pub fn resolve_all(spec: &v1::JobSpec, snapshots: Vec<Arc<Snapshot>>) -> Result<Job, Fault> {
    check_job_id(&spec.job_id)?;
    known::check(spec)?;
    let sources = sources(&spec.sources, snapshots)?;
    let order = order(spec.order.as_ref(), &sources, &spec.sources)?;
    let bad_sample = bad_sample(spec.on_bad_sample.as_ref());
    let named = fields_or_default(&spec.fields, &sources[0].snapshot)?;
    let classes = Classes::of(&sources);
    let (filled, fields) = plan_fields(&named, &sources, &order, &classes)?;
    packed_can_do(&order, bad_sample.policy)?;
    device_can_do(&filled, bad_sample.policy)?;
    let ids: Vec<_> = sources.iter().map(|source| Digest::from_bytes(source.snapshot.id())).collect();
    let (order_digest, content_digest) = (order.digest(&ids)?, content_digest(&filled, &bad_sample));
    let (order_parts, content_parts) =
        (parts::of_order(&order, Some(spec)), parts::of_content(&filled, bad_sample.policy));
    let id = match spec.job_id.as_str() {
        "" => format!("{}-{}", order_digest.short(), content_digest.short()),
        id => id.to_owned(),
    };
    Ok(Job {
        id,
        snapshot_id: joint_snapshot(&ids),
        classes: classes.names,
        rows: order.rows_first()?,
        sources,
        order,
        order_digest,
        content_digest,
        order_parts,
        content_parts,
        fields,
        bad_sample,
        epochs: Mutex::new(Vec::new()),
    })
}

/// The sources under their names, which are their numbers where they have none.
fn sources(given: &[v1::Source], snapshots: Vec<Arc<Snapshot>>) -> Result<Vec<JobSource>, Fault> {
    let mut sources: Vec<JobSource> = Vec::new();
    for (index, snapshot) in snapshots.into_iter().enumerate() {
        let name = given.get(index).map_or("", |source| source.name.as_str());
        let name = if name.is_empty() { index.to_string() } else { name.to_owned() };
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain || name.len() > SOURCE_NAME_BYTES_MAX || sources.iter().any(|source| source.name == name) {
            let message = format!("source name {:?} is given twice or has other characters", truncate(&name));
            return Err(Fault::invalid(message).hint("use at most 64 letters, digits and the signs . _ -"));
        }
        sources.push(JobSource { name, snapshot });
    }
    if sources.is_empty() {
        return Err(Fault::invalid("a job without a source"));
    }
    Ok(sources)
}

/// Whether a job may be called so; empty: it has no name of its own.
///
/// # Errors
/// Invalid: other characters, or too long.
pub fn check_job_id(id: &str) -> Result<(), Fault> {
    let fine = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    if fine && id.len() <= JOB_ID_BYTES_MAX {
        return Ok(());
    }
    let hint = "use at most 128 letters, digits and the signs . _ : -";
    Err(Fault::invalid(format!("job_id {:?} has other characters or is too long", truncate(id))).hint(hint))
}

fn truncate(text: &str) -> String {
    text.chars().take(64).collect()
}

fn bad_sample(given: Option<&v1::OnBadSample>) -> BadSample {
    let given = given.copied().unwrap_or_default();
    let policy = match given.policy() {
        v1::BadSamplePolicy::Unspecified | v1::BadSamplePolicy::Fail => Policy::Fail,
        v1::BadSamplePolicy::Substitute => Policy::Substitute,
        v1::BadSamplePolicy::Mask => Policy::Mask,
    };
    BadSample { policy, budget_count: (given.budget_count > 0).then_some(given.budget_count) }
}

/// A spec without fields means all columns, in order, but for those that say where the bytes of others lie.
fn fields_or_default(fields: &[v1::Field], snapshot: &Snapshot) -> Result<Vec<v1::Field>, Fault> {
    if fields.len() > FIELDS_MAX {
        return Err(Fault::invalid(format!("{} fields, at most {FIELDS_MAX}", fields.len())));
    }
    if !fields.is_empty() {
        return Ok(fields.to_vec());
    }
    Ok(snapshot
        .columns()
        .iter()
        .filter(|column| !is_of_places(snapshot, column))
        .map(|column| v1::Field { name: column.name().to_owned(), ..Default::default() })
        .collect())
}

fn plan_fields(
    fields: &[v1::Field],
    sources: &[JobSource],
    order: &JobOrder,
    classes: &Classes,
) -> Result<(Vec<v1::Field>, Vec<FieldPlan>), Fault> {
    let mut filled = Vec::new();
    let mut plans: Vec<FieldPlan> = Vec::new();
    for field in fields {
        if field.name.is_empty()
            || field.name == VALID
            || plans.iter().any(|plan| Some(&plan.spec.name) == numbers_name(field).as_ref())
            || plans.iter().any(|plan| plan.spec.name == field.name)
        {
            let message = format!("field name {:?} is empty, reserved or given twice", truncate(&field.name));
            return Err(Fault::invalid(message).hint("give each field a name of its own; `valid` is ours"));
        }
        let (field, plan) = plan_of_all(field, fields, sources, order, classes)?;
        plans.push(plan);
        plans.extend(numbers_name(&field).map(|name| numbers_field(name, sources.len())));
        filled.push(field);
    }
    Ok((filled, plans))
}

/// A field over all sources, which must agree on what it is.
fn plan_of_all(
    given: &v1::Field,
    all: &[v1::Field],
    sources: &[JobSource],
    order: &JobOrder,
    classes: &Classes,
) -> Result<(v1::Field, FieldPlan), Fault> {
    let mut plans = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let decode = decode_of(given, &source.snapshot);
        if !matches!(decode, v1::Decode::Image | v1::Decode::Clip) {
            no_image_settings(given)?;
        }
        if decode != v1::Decode::Clip {
            no_clip_settings(given)?;
        }
        check_device_decode(given, decode)?;
        if decode != v1::Decode::Array {
            no_array_settings(given)?;
        }
        let plan = match decode {
            decode if is_of_tokens(decode) => plan_tokens(given, decode, all, source, index, order),
            v1::Decode::Raw => plan_raw(given, source, order),
            v1::Decode::Array => plan_array(given, source, order),
            v1::Decode::Clip => plan_clip(given, source, order),
            _ => plan_field(given, source, order, classes.relabel(index)),
        };
        plans.push(plan.map_err(|fault| match sources.len() {
            1 => fault,
            _ => fault.context(format!("source {}", source.name)),
        })?);
    }
    let mut plans = plans.into_iter().zip(sources);
    let ((filled, mut spec, maker), first) = plans.next().expect("a job has a source");
    let mut makers = vec![maker];
    for ((other_filled, other, maker), source) in plans {
        if other_filled != filled || !merge(&mut spec, &other, &maker) {
            let words = |spec: &TensorSpec| format!("{} {:?}", spec.dtype.as_str(), spec.dims);
            let message = format!(
                "field {}: {} in source {} and {} in source {}",
                given.name,
                words(&spec),
                first.name,
                words(&other),
                source.name
            );
            return Err(
                Fault::invalid(message).hint("give the field a dtype, or columns of one kind and size")
            );
        }
        makers.push(maker);
    }
    Ok((filled, FieldPlan { spec, makers }))
}

/// Widens texts, tokens and bytes to the longest of all sources; anything else must be the same.
fn merge(spec: &mut TensorSpec, other: &TensorSpec, maker: &FieldMaker) -> bool {
    let is_text = matches!(maker, FieldMaker::Value(value) if value.is_text());
    if is_text || matches!(maker, FieldMaker::Tokens(_) | FieldMaker::Raw { .. }) {
        let longest = spec.dims.iter().max().max(other.dims.iter().max()).copied();
        spec.dims = longest.into_iter().collect();
        return spec.dtype == other.dtype;
    }
    spec == other
}

pub(super) type Planned = (v1::Field, TensorSpec, FieldMaker);

/// What is done with a field's column, where the field does not say it.
pub(super) fn decode_of(field: &v1::Field, snapshot: &Snapshot) -> v1::Decode {
    let decode = field.decode();
    if decode != v1::Decode::Unspecified {
        return decode;
    }
    let name = if field.column.is_empty() { &field.name } else { &field.column };
    let column = snapshot.columns().iter().position(|column| column.name() == name);
    match column.map(|column| snapshot.columns()[column].kind()) {
        Some(ColumnKind::Path) if column.is_some_and(|path| names_column(snapshot, path).is_some()) => {
            v1::Decode::Clip
        }
        Some(ColumnKind::Path) => v1::Decode::Image,
        Some(ColumnKind::Tokens) => v1::Decode::Tokens,
        _ => v1::Decode::Value,
    }
}

/// The number of a field's column, its name written into the field.
pub(super) fn column_of(field: &mut v1::Field, snapshot: &Snapshot) -> Result<usize, Fault> {
    if field.column.is_empty() {
        field.column.clone_from(&field.name);
    }
    let index = snapshot.columns().iter().position(|column| column.name() == field.column);
    index.ok_or_else(|| {
        let names: Vec<_> = snapshot.columns().iter().map(Column::name).collect();
        Fault::invalid(format!("field {}: no column {:?}", field.name, truncate(&field.column)))
            .hint(format!("the source has the columns {}", names.join(", ")))
    })
}

fn plan_field(
    given: &v1::Field,
    source: &JobSource,
    order: &JobOrder,
    relabel: Option<Arc<[i64]>>,
) -> Result<Planned, Fault> {
    let snapshot = &source.snapshot;
    let mut field = given.clone();
    not_packed(&field, order)?;
    no_token_settings(&field)?;
    field.views = views(&field)?;
    if field.decode() == v1::Decode::Source {
        return source_field(field);
    }
    let index = column_of(&mut field, snapshot)?;
    let is_path = snapshot.columns()[index].kind() == ColumnKind::Path;
    let decode = decode_of(&field, snapshot);
    field.set_decode(decode);
    match decode {
        v1::Decode::Image if is_path && names_column(snapshot, index).is_some() => {
            let message = format!("field {}: column {} holds folders of frames", field.name, field.column);
            Err(Fault::invalid(message).hint("make it a clip, as forebay.Clip(frames=16)"))
        }
        v1::Decode::Image if is_path => {
            let place = Located::of(snapshot, index)
                .map_err(|fault| fault.context(format!("field {}", field.name)))?;
            image_field(field, place)
        }
        v1::Decode::Image => {
            Err(Fault::invalid(format!("field {}: column {} holds no paths", field.name, field.column))
                .hint("an image needs a path column; name the column's kind where it was inferred wrong"))
        }
        v1::Decode::Value => {
            let is_class = field.column == CLASS_COLUMN && snapshot.class_map().is_some();
            value_field(field, snapshot, index, relabel.filter(|_| is_class))
        }
        other => Err(Fault::unimplemented(format!("field {}: decode {}", field.name, other.as_str_name()))),
    }
}

/// Of one sample alone.
pub(super) fn not_packed(field: &v1::Field, order: &JobOrder) -> Result<(), Fault> {
    if order.packed_capacity().is_none() {
        return Ok(());
    }
    let message = format!("field {}: a packed row holds several samples and no one's value", field.name);
    Err(Fault::invalid(message)
        .hint("leave it out: of packed rows there are tokens, length, position ids, segment ids, boundaries"))
}

/// What is no image is not transformed.
pub(super) fn no_transforms(field: &v1::Field) -> Result<(), Fault> {
    if field.transforms.is_empty() {
        return Ok(());
    }
    let message = format!("field {}: transforms work on images", field.name);
    Err(Fault::invalid(message).hint("leave the transforms out of this field"))
}

/// The number of a sample's source.
fn source_field(mut field: v1::Field) -> Result<Planned, Fault> {
    if !field.column.is_empty() || !field.transforms.is_empty() {
        let message = format!("field {}: a source's number has no column and no transforms", field.name);
        return Err(Fault::invalid(message).hint("leave both out"));
    }
    only_one_view(&field)?;
    if !matches!(dtype(&field)?, None | Some(DType::I64)) {
        return Err(Fault::invalid(format!("field {}: a source's number is int64", field.name)));
    }
    field.set_dtype(v1::DType::DtypeInt64);
    field.set_memory_order(v1::MemoryOrder::RowMajor);
    let (name, order) = (field.name.clone(), MemoryOrder::RowMajor);
    Ok((field, TensorSpec { name, dtype: DType::I64, dims: Vec::new(), order }, FieldMaker::Source))
}

/// None said is one. More than the most is refused before anything is sized by it.
pub(super) fn views(field: &v1::Field) -> Result<u32, Fault> {
    let views = field.views.max(1);
    if views <= VIEWS_MAX {
        return Ok(views);
    }
    Err(Fault::invalid(format!("field {}: {views} views, at most {VIEWS_MAX}", field.name)))
}

/// What is no image draws nothing, so its views would all be the same.
pub(super) fn only_one_view(field: &v1::Field) -> Result<(), Fault> {
    if field.views == 1 {
        return Ok(());
    }
    let message = format!("field {}: {} views of what is no image", field.name, field.views);
    Err(Fault::invalid(message).hint("leave views out of this field"))
}

fn value_field(
    mut field: v1::Field,
    snapshot: &Snapshot,
    index: usize,
    relabel: Option<Arc<[i64]>>,
) -> Result<Planned, Fault> {
    no_transforms(&field)?;
    only_one_view(&field)?;
    let dtype = dtype(&field)?;
    let (value, spec) = ValueMaker::new(snapshot, index, &field.name, dtype)?;
    field.set_memory_order(v1::MemoryOrder::RowMajor);
    Ok((field, spec, FieldMaker::Value(value.relabelled(relabel))))
}

pub(super) fn dtype(field: &v1::Field) -> Result<Option<DType>, Fault> {
    Ok(Some(match field.dtype() {
        v1::DType::DtypeUnspecified => return Ok(None),
        v1::DType::DtypeUint8 | v1::DType::DtypeUtf8 => DType::U8,
        v1::DType::DtypeInt32 => DType::I32,
        v1::DType::DtypeInt64 => DType::I64,
        v1::DType::DtypeFloat16 => DType::F16,
        v1::DType::DtypeBfloat16 => DType::Bf16,
        v1::DType::DtypeFloat32 => DType::F32,
        v1::DType::DtypeFloat64 => DType::F64,
        v1::DType::DtypeBool => DType::Bool,
        v1::DType::DtypeUint16 => DType::U16,
        v1::DType::DtypeUint32 => DType::U32,
        v1::DType::DtypeInt8 => DType::I8,
        v1::DType::DtypeInt16 => DType::I16,
    }))
}
