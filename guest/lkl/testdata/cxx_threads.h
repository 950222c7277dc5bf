// SPDX-License-Identifier: MPL-2.0
//
// The part of cxx.cc about threads. It uses names of that file.
#pragma once

#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <shared_mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

void threads()
{
	cout << each.name << '\n';
	std::mutex mutex;
	std::condition_variable changed;
	std::atomic<int> atomic = 0;
	long count = 0;
	int ended = 0;
	std::vector<std::thread> all;
	for (int me = 0; me < 4; me++)
		all.emplace_back([&] {
			for (int i = 0; i < 1000; i++) {
				std::lock_guard lock(mutex);
				count++;
				atomic++;
			}
			std::unique_lock lock(mutex);
			ended++;
			std::notify_all_at_thread_exit(changed, std::move(lock));
		});
	std::unique_lock lock(mutex);
	changed.wait(lock, [&] { return ended == 4; });
	lock.unlock();
	for (auto &thread : all)
		thread.join();
	cout << count << ' ' << atomic << '\n';
	for (int me = 0; me < 3; me++)
		std::thread([me] {
			thread_local Noisy second("second of a thread");
			each.name += ' ' + std::to_string(me);
			try {
				throw Failure(me);
			} catch (const Failure &e) {
				cout << "thread " << e.code << '\n';
			}
		}).join();
}

void synchronisation()
{
	std::timed_mutex timed;
	std::shared_mutex shared;
	std::counting_semaphore<4> semaphore(0);
	std::latch latch(2);
	std::barrier barrier(2);
	timed.lock();
	std::jthread other([&](std::stop_token stop) {
		bool locked = timed.try_lock_for(5ms);
		std::shared_lock lock(shared);
		latch.count_down();
		semaphore.release(2);
		barrier.arrive_and_wait();
		std::mutex mutex;
		std::unique_lock sleep(mutex);
		std::condition_variable_any().wait(sleep, stop, [] { return false; });
		cout << "locked " << locked << " stopped " << stop.stop_requested() << '\n';
	});
	latch.arrive_and_wait();
	semaphore.acquire();
	cout << semaphore.try_acquire_for(1s) << semaphore.try_acquire_for(2ms) << '\n';
	barrier.arrive_and_wait();
	other.request_stop();
	other.join();
	std::atomic<int> word = 0;
	std::thread setter([&] {
		word = 1;
		word.notify_one();
	});
	word.wait(0);
	setter.join();
	std::condition_variable never;
	std::mutex plain;
	std::unique_lock hold(plain);
	auto before = std::chrono::steady_clock::now();
	bool timeout = never.wait_until(hold, before + 20ms) == std::cv_status::timeout;
	auto system = never.wait_until(hold, std::chrono::system_clock::now() + 20ms) == std::cv_status::timeout;
	cout << timeout << system << (std::chrono::steady_clock::now() - before >= 40ms) << '\n';
}

void futures()
{
	auto one = std::async(std::launch::async, [] { return std::this_thread::get_id(); });
	cout << (one.get() != std::this_thread::get_id()) << '\n';
	auto failing = std::async(std::launch::async, []() -> int { throw Failure(21); });
	try {
		failing.get();
	} catch (const Failure &e) {
		cout << "from a thread: " << e.code << '\n';
	}
	std::promise<std::string> promise;
	auto future = promise.get_future();
	cout << (future.wait_for(2ms) == std::future_status::timeout) << '\n';
	std::thread([&] { promise.set_value_at_thread_exit("promised"); }).detach();
	cout << future.get() << '\n';
	std::promise<void> broken;
	auto lost = broken.get_future();
	broken = {};
	try {
		lost.get();
	} catch (const std::future_error &e) {
		cout << e.what() << ' ' << e.code() << '\n';
	}
	std::packaged_task<int(int)> task([](int n) { return n + 1; });
	auto result = task.get_future();
	std::thread(std::move(task), 41).join();
	cout << result.get() << ' ' << (std::thread::hardware_concurrency() >= 1) << '\n';
	try {
		std::mutex mutex;
		std::unique_lock<std::mutex> lock(mutex, std::defer_lock);
		lock.unlock();
	} catch (const std::system_error &e) {
		cout << e.what() << ' ' << e.code() << '\n';
	}
}

void clocks()
{
	using namespace std::chrono;
	auto now = system_clock::now();
	cout << (now > sys_days(2023y / 1 / 1)) << ' ' << (sys_days(2024y / 2 / 29) + days(1) == sys_days(2024y / 3 / 1)) << ' '
	     << duration_cast<minutes>(2h).count() << '\n';
	auto before = steady_clock::now();
	std::this_thread::sleep_for(10ms);
	cout << (steady_clock::now() - before >= 10ms) << (high_resolution_clock::now() > now - 1h) << '\n';
}

} // namespace
