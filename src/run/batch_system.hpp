// SPDX-License-Identifier: Apache-2.0
// What batch systems say of the time that the job of this process has left.
//
//   system   a job is known by                   asked for its time
//   Slurm    SLURM_JOB_ID                        SLURM_JOB_END_TIME, or squeue --format=%L
//   PBS      PBS_JOBID                           qstat -f: walltime asked for less time used
//   Flux     FLUX_JOB_ID or FLUX_ENCLOSING_ID    flux job timeleft, of the job or around it
//
// Sources: manual pages squeue(1), qstat(1B) and qsub(1B) of OpenPBS, flux-job(1) and
// flux-environment(7).
#pragma once
#include <optional>

namespace elastic {

/// Seconds that the job of this process may still run: the least that any of the systems around it
/// says. Nothing if there is no job or no limit. A system that gives no answer that can be used is
/// named in a warning, with what was asked, and passed over.
std::optional<double> time_left_of_the_job();

}  // namespace elastic
