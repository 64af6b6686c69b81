// The program `rill`.
#include "common.h"

#include <rill/core/check.h>

#include <rill/core/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

using namespace rill;
using namespace rill::cli;

// Wrong usage is status 2, everything else that fails 1.
int status_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kConfig:
    case ErrorCode::kUnsupported:
    case ErrorCode::kDevice:
      return kBadUsage;
    default:
      return kFailed;
  }
}

// A full disk behind stdout shows only when its buffer is written out.
int flushed(int status) {
  check(std::fflush(stdout) == 0 && std::ferror(stdout) == 0, ErrorCode::kSystem,
        "stdout cannot be written to; is the disk full?");
  return status;
}

void choose_cpu_target() {
  if (const char* target = std::getenv("RILL_CPU_TARGET")) set_cpu_target(target);
}

int run(int argc, char** argv) {
  CLI::App app("Rill: linear-time sequence models, trained in parallel and run step by step.",
               "rill");
  app.set_version_flag("--version", version());
  app.require_subcommand(1);
  app.footer(
      "Examples:\n  rill train --data text:data/kjv.txt --out run\n  rill generate run --prompt "
      "\"In the beginning\"\n"
      "  rill COMMAND --help");
  std::vector<std::pair<CLI::App*, Run>> commands;
  add_train(app, commands);
  add_eval(app, commands);
  add_generate(app, commands);
  add_stream(app, commands);
  add_logits(app, commands);
  add_layers(app, commands);
  add_info(app, commands);
  add_bench(app, commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? flushed(kSuccess) : kBadUsage;
  }
  choose_cpu_target();
  for (const auto& [command, action] : commands)
    if (command->parsed()) return flushed(action());
  return kBadUsage;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // past a limit on file sizes writes fail, and are reported
  try {
    return run(argc, argv);
  } catch (const rill::Error& error) {
    print_to(stderr, "rill: {}\n", error.what());
    return status_of(error);
  } catch (const std::bad_alloc&) {
    print_to(stderr,
             "rill: the system has no memory left for this; a smaller --batch, --length or "
             "--width may fit.\n");
  } catch (const std::exception& error) {
    print_to(stderr, "rill: {}\n", error.what());
  }
  return rill::cli::kFailed;
}
