//! The sizing as a person reads it.

use std::fmt::{self, Display, Formatter};

use super::super::emulate::workload::Accelerator;
use super::SizeReport;
use super::arithmetic::{Need, rate, time};

impl Display for SizeReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let gpu = self.gpu.map_or("GPU", Accelerator::name);
        writeln!(
            f,
            "forebay {} bench --size-for {}: {} x {gpu}\n",
            self.forebay,
            self.model.name(),
            self.gpus
        )?;
        let measured = &self.measured;
        writeln!(f, "measured   {}", measured.from)?;
        writeln!(
            f,
            "           {} of processor time a sample, {:.0} bytes stored, {:.0} bytes in its batch; {} samples/s on {} processors",
            time(measured.cpu_s),
            measured.sample_bytes,
            measured.row_bytes,
            rate(measured.per_s),
            measured.processors
        )?;
        for need in &self.needs {
            write!(
                f,
                "\n{:<11}{}: {}/s of one GPU\n",
                need.demand.basis,
                need.demand.source,
                rate(need.demand.per_gpu)
            )?;
            steps(need, f)?;
        }
        writeln!(f)?;
        for note in &self.assumed {
            writeln!(f, "assumed    {note}")?;
        }
        writeln!(f)?;
        self.needs.iter().try_for_each(|need| answer(self, need, f))
    }
}

fn steps(need: &Need, f: &mut Formatter<'_>) -> fmt::Result {
    need.lines
        .iter()
        .try_for_each(|line| writeln!(f, "  {:<10} {:<46} = {}", line.name, line.arithmetic, line.result))
}

fn answer(report: &SizeReport, need: &Need, f: &mut Formatter<'_>) -> fmt::Result {
    let total = rate(need.samples_per_s);
    let needs = format!(
        "{} cores, {:.2} GB/s, {:.2} GB of slots",
        need.cores,
        need.gb_per_s,
        need.shared_memory_bytes as f64 / 1e9
    );
    match (&report.judged, need.suffices) {
        (Some(judged), Some(true)) => {
            writeln!(f, "{total} samples/s: yes, {needs}; {} cores ({}) suffice", judged.cores, judged.whose)
        }
        (Some(judged), Some(false)) => writeln!(
            f,
            "{total} samples/s: NO, {needs}; {} cores ({}) do not suffice: smaller stored images, fewer GPUs a node, or decoding on the GPU",
            judged.cores, judged.whose
        ),
        _ => writeln!(f, "{total} samples/s: {needs}; --cores N says whether a node suffices"),
    }
}
