// SPDX-License-Identifier: MPL-2.0
//
// Uses the features of C++ that need the library, libc or the kernel. A test compares the output of a guest with that of
// the host, so no line depends on the machine.
#include <algorithm>
#include <any>
#include <array>
#include <charconv>
#include <chrono>
#include <coroutine>
#include <cstdlib>
#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <random>
#include <ranges>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>
#include <variant>
#include <vector>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::cout;

namespace {

// Prints its construction and destruction.
struct Noisy {
	std::string name;
	explicit Noisy(std::string n) : name(std::move(n)) { cout << "+ " << name << '\n'; }
	Noisy(const Noisy &) = delete;
	~Noisy() { cout << "- " << name << std::endl; }
};

Noisy first("static 1");
Noisy second("static 2");
// The priority makes the constructor of the second run first, before those of the streams.
int made;
struct Counted {
	int number = ++made;
} late, early __attribute__((init_priority(200)));
thread_local Noisy each("of a thread");

struct Shape {
	virtual ~Shape() = default;
	virtual double area() const = 0;
};
struct Named {
	virtual ~Named() = default;
	virtual std::string name() const { return "nameless"; }
};
struct Square : Shape, virtual Named {
	double side;
	explicit Square(double s) : side(s) {}
	double area() const override { return side * side; }
	std::string name() const override { return "square"; }
};

struct Failure : std::runtime_error {
	int code;
	explicit Failure(int c) : runtime_error("failure"), code(c) {}
};

} // namespace

#include "cxx_threads.h"

namespace {

void streams()
{
	std::ostringstream out;
	out << std::setw(8) << std::setfill('*') << 42 << ' ' << std::hex << std::showbase << 255 << ' ' << std::boolalpha << true
	    << ' ' << std::fixed << std::setprecision(3) << 3.14159 << ' ' << std::scientific << 12345.678;
	cout << out.str() << '\n';
	std::istringstream in("12 0x1f word 2.5e3 rest of it");
	int a, b;
	std::string word, rest;
	double d;
	in >> a >> std::hex >> b >> word >> std::dec >> d;
	std::getline(in, rest);
	cout << a << ' ' << b << ' ' << word << ' ' << d << ' ' << rest << '\n';
	std::wostringstream wide;
	wide << L"wide " << 7;
	cout << wide.str().size() << ' ' << cout.getloc().name() << '\n';
	try {
		in.exceptions(std::ios::failbit);
		in >> a;
	} catch (const std::ios_base::failure &e) {
		cout << "failure: " << e.code().category().name() << '\n';
	}
	cout << std::put_time(std::gmtime(std::array<time_t, 1>{ 86400 * 365 }.data()), "%F %T %A") << '\n';
	std::cerr << "";
}

void numbers()
{
	char text[64];
	for (double d : { 0.1, 1e300, -2.5, 1.0 / 3 }) {
		auto end = std::to_chars(text, text + sizeof(text), d).ptr;
		double back = 0;
		std::from_chars(text, end, back);
		cout << std::string_view(text, end - text) << ' ' << (back == d) << ' ' << std::to_string(d) << '\n';
	}
	cout << std::string_view(text, std::to_chars(text, text + sizeof(text), -255, 16).ptr - text) << '\n';
	cout << std::stod("0x1p-2") << ' ' << std::stol("-77") << ' ' << std::stoull("777", nullptr, 8) << '\n';
	for (auto s : { "none", "1e999" })
		try {
			std::stod(s);
		} catch (const std::logic_error &e) {
			cout << e.what() << ' ' << (dynamic_cast<const std::out_of_range *>(&e) != nullptr) << '\n';
		} catch (const std::exception &) {
			cout << "another exception\n";
		}
	std::mt19937_64 engine(1);
	cout << engine() << ' ' << std::uniform_int_distribution<int>(1, 6)(engine) << '\n';
	std::random_device device;
	std::set<unsigned> seen;
	for (int i = 0; i < 64; i++)
		seen.insert(device());
	cout << "random: " << (seen.size() > 60) << '\n';
	cout << std::hypot(3.0, 4.0, 12.0) << ' ' << std::beta(2.0, 3.0) << ' ' << std::gcd(12, 18) << '\n';
}

void containers()
{
	std::map<std::string, std::vector<int>> map{ { "b", { 3, 1, 2 } }, { "a", {} } };
	std::sort(map["b"].begin(), map["b"].end());
	for (auto &[key, value] : map)
		cout << key << value.size() << ' ';
	std::unordered_map<int, std::string> hash;
	for (int i = 0; i < 10000; i++)
		hash[i] = std::to_string(i);
	std::deque<int> deque(100);
	std::iota(deque.begin(), deque.end(), 0);
	std::list<int> list(deque.begin(), deque.end());
	list.remove_if([](int n) { return n % 3; });
	cout << hash.at(9999) << ' ' << std::accumulate(list.begin(), list.end(), 0) << '\n';
	auto even = std::views::iota(1, 20) | std::views::filter([](int n) { return n % 2 == 0; }) |
		    std::views::transform([](int n) { return n * n; });
	for (int n : even)
		cout << n << ' ';
	cout << '\n';
	std::variant<int, std::string> variant = "text";
	std::any any = 5;
	std::optional<int> none;
	cout << std::get<std::string>(variant) << ' ' << std::any_cast<int>(any) << ' ' << none.value_or(-1) << '\n';
	std::byte room[512];
	std::pmr::monotonic_buffer_resource memory(room, sizeof(room));
	std::pmr::vector<std::pmr::string> strings(&memory);
	strings.emplace_back("a string that is longer than the short ones");
	cout << strings[0] << '\n';
	std::shared_ptr<int> shared = std::make_shared<int>(1);
	std::weak_ptr<int> weak = shared;
	shared.reset();
	cout << weak.expired() << '\n';
	for (auto &m : { "(\\w+)@(\\w+)\\.org", "^[[:alpha:]]+$" }) {
		std::smatch match;
		std::string s = "mail me@example.org now";
		cout << std::regex_search(s, match, std::regex(m)) << ' ' << match.str(0) << '\n';
	}
	cout << std::regex_replace("a1b22", std::regex("[0-9]+"), "<$&>") << '\n';
}

void types()
{
	std::unique_ptr<Shape> shape = std::make_unique<Square>(3);
	cout << shape->area() << ' ' << dynamic_cast<Named &>(*shape).name() << ' ' << (typeid(*shape) == typeid(Square)) << ' '
	     << typeid(int).name() << ' ' << (std::type_index(typeid(*shape)) == typeid(Shape)) << '\n';
	cout << "made " << early.number << ' ' << late.number << '\n';
	try {
		Named named;
		(void)dynamic_cast<Square &>(named);
	} catch (const std::bad_cast &e) {
		cout << e.what() << '\n';
	}
}

int deep(int n)
{
	Noisy *here = n % 50 == 0 ? new Noisy("depth " + std::to_string(n)) : nullptr;
	std::unique_ptr<Noisy> owner(here);
	if (n == 0)
		throw Failure(7);
	return deep(n - 1) + 1;
}

int compare(const void *, const void *)
{
	throw Failure(11);
}

void exceptions()
{
	try {
		try {
			deep(100);
		} catch (Failure &e) {
			e.code++;
			throw;
		}
	} catch (const std::exception &e) {
		cout << e.what() << ' ' << dynamic_cast<const Failure &>(e).code << '\n';
	}
	try {
		try {
			throw 1;
		} catch (int) {
			std::throw_with_nested(std::runtime_error("outer"));
		}
	} catch (const std::exception &e) {
		try {
			std::rethrow_if_nested(e);
		} catch (int n) {
			cout << e.what() << ' ' << n << '\n';
		}
	}
	try {
		std::vector<int>().at(3);
	} catch (const std::out_of_range &e) {
		cout << e.what() << '\n';
	}
	try {
		(void)std::vector<char>(size_t(1) << 46);
	} catch (const std::bad_alloc &e) {
		cout << e.what() << '\n';
	}
	try {
		(void)fs::file_size("not there");
	} catch (const fs::filesystem_error &e) {
		cout << e.what() << ' ' << e.code() << '\n';
	}
}

void unwinding()
{
	try { // through the frames of libc
		int two[2] = {};
		std::qsort(two, 2, sizeof(int), compare);
	} catch (const Failure &e) {
		cout << "qsort " << e.code << '\n';
	}
	std::once_flag flag;
	for (int i = 0; i < 3; i++)
		try {
			std::call_once(flag, [i] {
				if (i == 0)
					throw Failure(i);
				cout << "once " << i << '\n';
			});
		} catch (const Failure &e) {
			cout << "once failed " << e.code << '\n';
		}
	int n = 0;
	for (int i = 0; i < 10000; i++)
		try {
			throw i;
		} catch (int) {
			n++;
		}
	cout << n << ' ' << std::uncaught_exceptions() << '\n';
}

void files()
{
	fs::path top = fs::current_path() / "cxx-files";
	fs::remove_all(top);
	fs::create_directories(top / "a" / "b");
	std::ofstream(top / "a" / "text") << "line 1\nline 2\n";
	fs::copy(top / "a" / "text", top / "copy");
	fs::create_symlink("copy", top / "link");
	fs::rename(top / "copy", top / "moved");
	fs::resize_file(top / "moved", 6);
	fs::permissions(top / "moved", fs::perms::owner_read);
	fs::copy(top / "a", top / "again", fs::copy_options::recursive);
	std::map<std::string, std::string> found;
	for (const auto &entry : fs::recursive_directory_iterator(top))
		found[entry.path().lexically_relative(top).string()] =
			entry.is_symlink() ? "link" : entry.is_directory() ? "directory" : std::to_string(entry.file_size());
	for (auto &[path, what] : found)
		cout << path << ": " << what << '\n';
	std::ifstream in(top / "again" / "text");
	cout << std::string(std::istreambuf_iterator<char>(in), {}).size() << ' ' << fs::read_symlink(top / "link") << ' '
	     << fs::exists(top / "link") << ' ' << std::oct << static_cast<unsigned>(fs::status(top / "moved").permissions())
	     << std::dec << ' ' << (fs::file_time_type::clock::now() - fs::last_write_time(top / "moved") < 1h) << ' '
	     << (fs::space(top).free > 0) << ' ' << fs::equivalent(top / "a/..", top) << '\n';
	for (int i = 0; i < 500; i++)
		std::ofstream(top / "a" / "b" / std::to_string(i));
	cout << std::distance(fs::directory_iterator(top / "a" / "b"), fs::directory_iterator()) << ' ' << fs::remove_all(top)
	     << ' ' << fs::exists(top) << '\n';
	std::error_code error;
	fs::create_directory("/proc/no", error);
	cout << (error ? "refused" : "made") << ' ' << std::make_error_code(std::errc::no_such_file_or_directory).message() << '\n';
}

struct Numbers {
	struct promise_type {
		int value = 0;
		Numbers get_return_object() { return { std::coroutine_handle<promise_type>::from_promise(*this) }; }
		std::suspend_always initial_suspend() { return {}; }
		std::suspend_always final_suspend() noexcept { return {}; }
		std::suspend_always yield_value(int n)
		{
			value = n;
			return {};
		}
		void return_void() {}
		void unhandled_exception() { throw; }
	};
	std::coroutine_handle<promise_type> handle;
};

Numbers count_to(int end)
{
	Noisy frame("coroutine");
	for (int n = 0; n < end; n++)
		co_yield n;
	throw Failure(end);
}

void coroutines()
{
	Numbers numbers = count_to(3);
	try {
		for (numbers.handle.resume(); !numbers.handle.done(); numbers.handle.resume())
			cout << numbers.handle.promise().value << '\n';
	} catch (const Failure &e) {
		cout << "coroutine failed " << e.code << '\n';
	}
	numbers.handle.destroy();
}

} // namespace

int main(int argc, char **argv)
{
	if (argc > 1 && std::string(argv[1]) == "uncaught")
		std::thread([] { throw Failure(1); }).join();
	const std::pair<const char *, void (*)()> parts[] = {
		{ "streams", streams }, { "numbers", numbers }, { "containers", containers }, { "types", types },
		{ "exceptions", exceptions }, { "unwinding", unwinding }, { "threads", threads }, { "synchronisation", synchronisation },
		{ "futures", futures }, { "clocks", clocks }, { "files", files }, { "coroutines", coroutines },
	};
	for (auto &[name, part] : parts) {
		cout << "== " << name << std::endl;
		part();
	}
	std::atexit([] { cout << "at exit\n"; });
	static Noisy local("local static");
	return 3;
}
