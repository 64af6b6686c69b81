#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include <rill/io/atomic_file.h>
#include <rill/io/text_file.h>
#include <rill/tests/support/files.h>

using namespace rill;
using namespace rill::test;
using Catch::Matchers::Contains;

namespace {

/// Files may not grow past this size while it lives: the nearest to a full disk that needs no
/// rights.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit now{bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &now) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

}  // namespace

TEST_CASE("atomic file: the target changes at commit, and whole") {
  TemporaryFolder folder;
  write_file(folder / "x", "old");
  {
    AtomicFile file(folder / "x");
    file.write("new and ");
    file.write("longer");
    CHECK(read_file(folder / "x") == "old");
    file.commit();
    CHECK(read_file(folder / "x") == "new and longer");
    CHECK_THROWS_AS(file.write("more"), Error);
  }
  CHECK(read_file(folder / "x") == "new and longer");
  { AtomicFile(folder / "x").write("never committed"); }
  CHECK(read_file(folder / "x") == "new and longer");
  CHECK(folder.count() == 1);
  struct stat status {};
  REQUIRE(::stat((folder / "x").c_str(), &status) == 0);
  CHECK((status.st_mode & 0600) == 0600);
}

TEST_CASE("atomic file: two writers of one file do not mix") {
  TemporaryFolder folder;
  AtomicFile one(folder / "x"), two(folder / "x");
  one.write("one");
  two.write("two");
  one.commit();
  two.commit();
  CHECK(read_file(folder / "x") == "two");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: a disk that takes no more leaves all as it was") {
  TemporaryFolder folder;
  write_file(folder / "x", "old");
  std::string sentence;
  {
    const FileSizeLimit limit(1000);
    const std::string big(5000, 'x');
    sentence = sentence_of(ErrorCode::kSystem, [&] { write_file_atomically(folder / "x", big); });
  }
  CHECK_THAT(sentence, Contains("nothing was changed"));
  CHECK(read_file(folder / "x") == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: places where nothing can be written") {
  TemporaryFolder folder;
  CHECK_THAT(
      sentence_of(ErrorCode::kSystem, [&] { write_file_atomically(folder / "none/x", "a"); }),
      Contains("cannot be created"));
  CHECK_THAT(sentence_of(ErrorCode::kSystem, [&] { write_file_atomically(folder.path(), "a"); }),
             Contains("not a regular file"));
  CHECK_THAT(sentence_of(ErrorCode::kSystem, [&] { write_file_atomically("/dev/null", "a"); }),
             Contains("not a regular file"));
  CHECK(folder.count() == 0);
}

TEST_CASE("atomic file: a link stays a link") {
  TemporaryFolder folder;
  write_file(folder / "real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  write_file_atomically(folder / "link", "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(read_file(folder / "real") == "new");
}

TEST_CASE("text file: whole, limited, or not at all") {
  TemporaryFolder folder;
  write_file(folder / "x", std::string("ab\0c\n", 5));
  CHECK(read_text_file(folder / "x") == std::string("ab\0c\n", 5));
  CHECK(read_text_file(folder / "x", 5).size() == 5);
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_text_file(folder / "x", 4); }),
             Contains("4 bytes"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_bytes_file(folder / "x", 4); }),
             Contains("4 bytes"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_text_file(folder / "y"); }),
             Contains("cannot be opened"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_text_file(folder.path()); }),
             Contains("folder"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_bytes_file(folder.path()); }),
             Contains("folder"));
  const Tensor bytes = read_bytes_file(folder / "x");
  CHECK(to_string(bytes.shape()) == "[5]");
  CHECK(bytes.data<std::uint8_t>()[1] == 'b');
  write_file(folder / "empty", "");
  CHECK(read_bytes_file(folder / "empty").numel() == 0);
  CHECK(read_bytes_file("/dev/null").numel() == 0);
}

TEST_CASE("data: the King James text is the one that the figures are about") {
  CHECK(read_bytes_file(std::string(RILL_SOURCE_DIR) + "/data/kjv.txt").numel() == 4298239);
}
