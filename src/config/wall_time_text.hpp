// SPDX-License-Identifier: Apache-2.0
// Times in the formats of Slurm and PBS.
#pragma once
#include <string>

namespace elastic {

/// Seconds of a time in Slurm's formats:
/// MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS. Throws InputError.
double parse_wall_time(const std::string& text);

/// Seconds of a time as PBS writes it: SS, MM:SS or HH:MM:SS (a number alone: seconds, not minutes
/// as Slurm's), with or without decimals. Throws InputError.
double parse_pbs_time(const std::string& text);

}  // namespace elastic
