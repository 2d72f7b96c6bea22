/* What differs between Android's C library (bionic) and glibc, as far as TFLite's library uses it.
 *
 * tools/native_runtime.py links this with a forwarder for each remaining symbol into a libc.so, so
 * that the very libtensorflowlite_jni.so of the AAR loads into a desktop JVM (x86-64 Linux) and
 * the tests score on the runtime that the APK ships. A test tool: no part of the app.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXPORT(name) __asm__(".symver bionic_" #name ", " #name "@LIBC")

/* bionic's stdin, stdout and stderr are elements of this array. */
enum { BIONIC_FILE_SIZE = 152 };
char bionic___sF[3 * BIONIC_FILE_SIZE];
EXPORT(__sF);

static FILE *file(void *stream) {
  uintptr_t offset = (uintptr_t)stream - (uintptr_t)bionic___sF;
  if (offset >= sizeof bionic___sF) return stream;
  FILE *standard[] = {stdin, stdout, stderr};
  return standard[offset / BIONIC_FILE_SIZE];
}

int bionic_vfprintf(void *stream, const char *format, va_list arguments) {
  return vfprintf(file(stream), format, arguments);
}
EXPORT(vfprintf);

int bionic_fprintf(void *stream, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int written = vfprintf(file(stream), format, arguments);
  va_end(arguments);
  return written;
}
EXPORT(fprintf);

int bionic_fputc(int character, void *stream) { return fputc(character, file(stream)); }
EXPORT(fputc);

size_t bionic_fwrite(const void *data, size_t size, size_t count, void *stream) {
  return fwrite(data, size, count, file(stream));
}
EXPORT(fwrite);

int bionic_fflush(void *stream) { return fflush(stream ? file(stream) : NULL); }
EXPORT(fflush);

int bionic_fileno(void *stream) { return fileno(file(stream)); }
EXPORT(fileno);

int *bionic___errno(void) { return &errno; }
EXPORT(__errno);

int bionic_strerror_r(int number, char *text, size_t size) {
  const char *message = strerror_r(number, text, size);
  if (message != text) snprintf(text, size, "%s", message);
  return 0;
}
EXPORT(strerror_r);

size_t bionic___strlen_chk(const char *text, size_t limit) {
  (void)limit;
  return strlen(text);
}
EXPORT(__strlen_chk);

int bionic___system_property_get(const char *name, char *value) {
  (void)name;
  *value = 0;
  return 0;
}
EXPORT(__system_property_get);

void bionic_android_set_abort_message(const char *message) { fprintf(stderr, "%s\n", message); }
EXPORT(android_set_abort_message);

locale_t bionic_newlocale(int mask, const char *name, locale_t base) {
  (void)mask;
  return newlocale(LC_ALL_MASK, name, base);
}
EXPORT(newlocale);

long bionic_sysconf(int name) {
  switch (name) { /* bionic's numbers */
    case 0x27:
    case 0x28: return sysconf(_SC_PAGESIZE);
    case 0x60: return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61: return sysconf(_SC_NPROCESSORS_ONLN);
    default: errno = EINVAL; return -1;
  }
}
EXPORT(sysconf);

int __android_log_vprint(int priority, const char *tag, const char *format, va_list arguments) {
  (void)priority;
  fprintf(stderr, "%s: ", tag);
  int written = vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  return written;
}
