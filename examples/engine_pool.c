// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// An engine's own threads, in the two ways that heed takes them: by a
// parallel_for that it calls, and as a team that is running already and asks
// for its tasks ("i of n"). Both give the bits of a single thread.
#define _POSIX_C_SOURCE 200809L
#include <heed/heed_c.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kWorkers = 3, kSeqlen = 300, kKeys = 9000, kHeads = 4, kDim = 32 };

// ---- The engine's pool: all of its workers run a job, the caller as number 0.

struct pool {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  pthread_barrier_t barrier;  // for jobs that need one
  pthread_t threads[kWorkers];
  void (*job)(struct pool* pool, void* ctx, int32_t worker);
  void* ctx;
  int64_t jobs;  // counted up by each; negative: the end
  int running;
  int names;  // given to threads as they start
  int64_t next;
};

static void* work(void* arg) {
  struct pool* pool = arg;
  pthread_mutex_lock(&pool->mutex);
  const int32_t worker = ++pool->names;
  int64_t seen = 0;
  for (;;) {
    while (pool->jobs == seen) {
      pthread_cond_wait(&pool->changed, &pool->mutex);
    }
    if (pool->jobs < 0) break;
    seen = pool->jobs;
    pthread_mutex_unlock(&pool->mutex);
    pool->job(pool, pool->ctx, worker);
    pthread_mutex_lock(&pool->mutex);
    --pool->running;
    pthread_cond_broadcast(&pool->changed);
  }
  pthread_mutex_unlock(&pool->mutex);
  return NULL;
}

static void run_on_all(struct pool* pool,
                       void (*job)(struct pool*, void*, int32_t), void* ctx) {
  pthread_mutex_lock(&pool->mutex);
  pool->job = job;
  pool->ctx = ctx;
  pool->running = kWorkers - 1;
  ++pool->jobs;
  pthread_cond_broadcast(&pool->changed);
  pthread_mutex_unlock(&pool->mutex);
  job(pool, ctx, 0);
  pthread_mutex_lock(&pool->mutex);
  while (pool->running > 0) pthread_cond_wait(&pool->changed, &pool->mutex);
  pthread_mutex_unlock(&pool->mutex);
}

static int start(struct pool* pool) {
  memset(pool, 0, sizeof(*pool));
  if (pthread_mutex_init(&pool->mutex, NULL) != 0 ||
      pthread_cond_init(&pool->changed, NULL) != 0 ||
      pthread_barrier_init(&pool->barrier, NULL, kWorkers) != 0) {
    return 0;
  }
  for (int i = 1; i < kWorkers; ++i) {
    if (pthread_create(&pool->threads[i], NULL, work, pool) != 0) return 0;
  }
  return 1;
}

static void stop(struct pool* pool) {
  pthread_mutex_lock(&pool->mutex);
  pool->jobs = -1;
  pthread_cond_broadcast(&pool->changed);
  pthread_mutex_unlock(&pool->mutex);
  for (int i = 1; i < kWorkers; ++i) pthread_join(pool->threads[i], NULL);
}

// ---- First way: heed calls a parallel_for. ----------------------------------

struct loop {
  int64_t num_tasks;
  void* ctx;
  heed_task task;
};

// Workers pull tasks from a counter: the longest come first.
static void pull_tasks(struct pool* pool, void* ctx, int32_t worker) {
  const struct loop* loop = ctx;
  for (;;) {
    pthread_mutex_lock(&pool->mutex);
    const int64_t i = pool->next++;
    pthread_mutex_unlock(&pool->mutex);
    if (i >= loop->num_tasks) return;
    loop->task(loop->ctx, i, worker);
  }
}

static void parallel_for(void* self, int64_t num_tasks, void* ctx,
                         heed_task task) {
  struct pool* pool = self;
  struct loop loop = {num_tasks, ctx, task};
  pool->next = 0;
  run_on_all(pool, pull_tasks, &loop);
}

// ---- Second way: a running team does its share of each phase. ---------------

static void do_share(struct pool* pool, void* ctx, int32_t worker) {
  const heed_run* run = ctx;
  for (int32_t phase = 0; phase < heed_num_phases(run); ++phase) {
    for (int64_t i = worker; i < heed_num_tasks(run, phase); i += kWorkers) {
      heed_run_task(run, phase, i, worker);
    }
    pthread_barrier_wait(&pool->barrier);
  }
}

// ---- The program. -----------------------------------------------------------

static float query[kSeqlen * kHeads * kDim], key[kKeys * kDim],
    value[kKeys * kDim], out[kSeqlen * kHeads * kDim], serial[sizeof(out) / 4];

static void fill(float* numbers, int count, uint32_t seed) {
  for (int i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    numbers[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
  }
}

// Compares with what one thread wrote.
static int same(const char* way) {
  const int equal = memcmp(out, serial, sizeof(out)) == 0;
  printf("%s: %s\n", way, equal ? "the same bits" : "other bits");
  memset(out, 0, sizeof(out));
  return equal;
}

int main(void) {
  fill(query, kSeqlen * kHeads * kDim, 1);
  fill(key, kKeys * kDim, 2);
  fill(value, kKeys * kDim, 3);
  heed_attention_params params;
  heed_attention_params_init(&params, sizeof(params));
  params.causal = 1;
  heed_attention_args args = {.struct_size = sizeof(args)};
  args.query = heed_thd(query, HEED_F32, kSeqlen, kHeads, kDim);
  args.key = heed_thd(key, HEED_F32, kKeys, 1, kDim);
  args.value = heed_thd(value, HEED_F32, kKeys, 1, kDim);
  args.out = heed_thd(out, HEED_F32, kSeqlen, kHeads, kDim);
  heed_attention_shape shape = {.struct_size = sizeof(shape)};
  heed_shape_of(&args, &shape, NULL);

  // Once: a plan, and all the memory that runs need. No call below allocates.
  heed_plan* plan = malloc(heed_plan_bytes());
  heed_run* run = malloc(heed_run_bytes());
  uint64_t bytes = 0;
  void* workspace = NULL;
  heed_status status = {.struct_size = sizeof(status)};
  struct pool pool;
  int good = plan != NULL && run != NULL && start(&pool) &&
             heed_make_plan(&params, &shape, NULL, plan, heed_plan_bytes(),
                            &status) == HEED_OK &&
             heed_workspace_bytes(plan, kWorkers, &bytes, &status) == HEED_OK &&
             posix_memalign(&workspace, heed_workspace_alignment(), bytes) == 0;
  if (!good) return 1;

  good = heed_run_plan(plan, &args, workspace, bytes, NULL, &status) == HEED_OK;
  memcpy(serial, out, sizeof(out));

  const heed_executor executor = {sizeof(executor), &pool, parallel_for,
                                  kWorkers, 0};
  good = good && heed_run_plan(plan, &args, workspace, bytes, &executor,
                               &status) == HEED_OK;
  good = same("parallel_for") && good;

  good = good && heed_begin_run(plan, &args, workspace, bytes, kWorkers, NULL,
                                run, heed_run_bytes(), &status) == HEED_OK;
  if (good) run_on_all(&pool, do_share, run);
  good = same("i of n") && good;

  if (status.code != HEED_OK) {
    char text[256];
    heed_status_text(&status, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
  }
  stop(&pool);
  free(workspace);
  free(run);
  free(plan);
  return good ? 0 : 1;
}
