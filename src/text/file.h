#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace headway::inline v1::text {

/// A descriptor of a file to read; Error(io) naming it when there is none, or when it is a folder.
int open_to_read(const std::filesystem::path& file, std::string_view operation);

/// The whole file; Error(io) naming it when it cannot be read or is larger than 1 GiB.
std::string read_file(const std::filesystem::path& file, std::string_view operation);

/// Writes beside the file, syncs, renames into place: the old content or the new, never a part.
void write_file_atomically(const std::filesystem::path& file, std::string_view content,
                           std::string_view operation);

/// Writes and syncs a new file (not atomic by itself: for files of a folder that is renamed as a whole).
void write_file_synced(const std::filesystem::path& file, std::string_view content,
                       std::string_view operation);
void sync_folder(const std::filesystem::path& folder, std::string_view operation);

}  // namespace headway::inline v1::text
