#pragma once

// The parts of heads.html that do not depend on the data, as raw strings.
namespace headway::inline v1::inspect {

extern const char* const kPageStyle;
extern const char* const kPageBody;
extern const char* const kPageScript;

}  // namespace headway::inline v1::inspect
