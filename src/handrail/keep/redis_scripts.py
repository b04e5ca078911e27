"""What the Redis channel does in one step on the server: Lua scripts.

Redis >= 6. A call whose reply was lost is sent again with the same number; what it did the first
time is remembered by caller in the hash `done`, so that it is done once.
"""

from __future__ import annotations

#: Milliseconds that a run's values are kept without a sign of life come as `keep`; an empty
#: `ttl` stands for none. The sorted set `index` holds all keys, with 1 for a time to live of
#: their own and 0 for the run's.
_MARK = """
local function mark(value, index, key, ttl, keep)
  if ttl ~= '' then
    redis.call('PEXPIRE', value, ttl)
    redis.call('ZADD', index, 1, key)
  else
    redis.call('PEXPIRE', value, keep)
    redis.call('ZADD', index, 0, key)
  end
  redis.call('PEXPIRE', index, keep)
end
"""

_ONCE = """
local function done_before(done, caller, number)
  local last = redis.call('HGET', done, caller)
  if last then
    local at, reply = string.match(last, '^(%d+) (.*)$')
    if at == number then return reply end
  end
  return false
end
local function remember(done, caller, number, reply, keep)
  redis.call('HSET', done, caller, number .. ' ' .. reply)
  redis.call('PEXPIRE', done, keep)
  return reply
end
"""

#: KEYS value. The text, a list of texts, or nothing.
GET = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then return redis.call('GET', KEYS[1]) end
if kind == 'list' then return redis.call('LRANGE', KEYS[1], 0, -1) end
return false
"""

#: KEYS value, index. ARGV text, key, ttl, keep.
SET = f"""{_MARK}
redis.call('SET', KEYS[1], ARGV[1])
mark(KEYS[1], KEYS[2], ARGV[2], ARGV[3], ARGV[4])
return 1
"""

#: KEYS value, index, done. ARGV key, keep, caller, number. "1" or "0".
DELETE = f"""{_ONCE}
local before = done_before(KEYS[3], ARGV[3], ARGV[4])
if before then return before end
local count = redis.call('UNLINK', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return remember(KEYS[3], ARGV[3], ARGV[4], tostring(count), ARGV[2])
"""

#: KEYS value, index, done. ARGV RPUSH or LPUSH, item, key, ttl, keep, caller, number. The length
#: as text; "-" if the key holds something else. An empty list is kept as the text "[]".
EXTEND = f"""{_MARK}{_ONCE}
local before = done_before(KEYS[3], ARGV[6], ARGV[7])
if before then return before end
local kind, ttl = redis.call('TYPE', KEYS[1]).ok, ARGV[4]
local is_marked = kind ~= 'none'
if kind == 'string' then
  if redis.call('GET', KEYS[1]) ~= '[]' then return '-' end
  local left = redis.call('PTTL', KEYS[1])
  redis.call('DEL', KEYS[1])
  redis.call(ARGV[1], KEYS[1], ARGV[2])
  if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
else
  redis.call(ARGV[1], KEYS[1], ARGV[2])
end
if ttl ~= '' or not is_marked then mark(KEYS[1], KEYS[2], ARGV[3], ttl, ARGV[5]) end
return remember(KEYS[3], ARGV[6], ARGV[7], tostring(redis.call('LLEN', KEYS[1])), ARGV[5])
"""

#: KEYS value, index, done. ARGV amount, key, keep, caller, number. `{"=", sum}`, or `{"?", text}`
#: if the sum is not for Lua to make, whose numbers are doubles. The text is "" for no value and
#: nothing for a list.
ADD = f"""{_MARK}{_ONCE}
local before = done_before(KEYS[3], ARGV[4], ARGV[5])
if before then return {{'=', before}} end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'list' then return {{'?', false}} end
local text = kind == 'none' and '' or redis.call('GET', KEYS[1])
local function is_whole(number) return string.match(number, '^%-?%d+$') and #number <= 15 end
if (text ~= '' and not is_whole(text)) or not is_whole(ARGV[1]) then return {{'?', text}} end
local sum = string.format('%d', tonumber(text == '' and '0' or text) + tonumber(ARGV[1]))
if kind == 'none' then
  redis.call('SET', KEYS[1], sum)
  mark(KEYS[1], KEYS[2], ARGV[2], '', ARGV[3])
else
  redis.call('SET', KEYS[1], sum, 'KEEPTTL')
end
return {{'=', remember(KEYS[3], ARGV[4], ARGV[5], sum, ARGV[3])}}
"""

#: KEYS value, index, done. ARGV expected text ("" for none), text, key, keep, caller, number.
#: 1, or 0 if the value is another one.
REPLACE = f"""{_MARK}{_ONCE}
if done_before(KEYS[3], ARGV[5], ARGV[6]) then return 1 end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  if ARGV[1] ~= '' then return 0 end
  redis.call('SET', KEYS[1], ARGV[2])
  mark(KEYS[1], KEYS[2], ARGV[3], '', ARGV[4])
else
  if kind ~= 'string' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
end
remember(KEYS[3], ARGV[5], ARGV[6], 'replaced', ARGV[4])
return 1
"""

#: KEYS index. ARGV prefix of values. All keys that are there; others leave the index.
LIST = """
local found = {}
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if redis.call('EXISTS', ARGV[1] .. key) == 1 then
    found[#found + 1] = key
  else
    redis.call('ZREM', KEYS[1], key)
  end
end
return found
"""

#: KEYS index. ARGV prefix of values.
CLEAR = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('UNLINK', ARGV[1] .. key)
end
redis.call('DEL', KEYS[1])
return 1
"""

#: KEYS index, begun, done, locks. ARGV prefix of values, keep. Puts off the end of what has none.
REFRESH = """
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], 0, 0)) do
  redis.call('PEXPIRE', ARGV[1] .. key, ARGV[2])
end
for _, own in ipairs(KEYS) do redis.call('PEXPIRE', own, ARGV[2]) end
return 1
"""

#: KEYS index, begun, done, locks. ARGV prefix of values, and of the three keys of a lock.
REMOVE = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('UNLINK', ARGV[1] .. key)
end
for _, key in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  redis.call('DEL', ARGV[2] .. key, ARGV[3] .. key, ARGV[4] .. key)
end
redis.call('UNLINK', unpack(KEYS))
return 1
"""

#: KEYS holder, line, seen, locks. ARGV ticket, lease, patience, key, keep. 1: the ticket holds
#: the lock. `line` has tickets by arrival in microseconds, `seen` when each last asked; who has
#: not asked for longer than `patience` milliseconds is out.
TAKE = """
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', micros), ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], string.format('%.0f', now))
redis.call('SADD', KEYS[4], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3] * 2)
redis.call('PEXPIRE', KEYS[3], ARGV[3] * 2)
redis.call('PEXPIRE', KEYS[4], ARGV[5])
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for _, ticket in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if ticket == ARGV[1] then
    redis.call('SET', KEYS[1], ticket, 'PX', ARGV[2])
    redis.call('ZREM', KEYS[2], ticket)
    redis.call('HDEL', KEYS[3], ticket)
    return 1
  end
  if tonumber(redis.call('HGET', KEYS[3], ticket) or '0') + ARGV[3] >= now then return 0 end
  redis.call('ZREM', KEYS[2], ticket)
  redis.call('HDEL', KEYS[3], ticket)
end
return 0
"""

#: KEYS holder. ARGV ticket, lease. 1: still held.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

#: KEYS holder, line, seen, locks, done. ARGV ticket, key, keep, caller, number. "1": it was held.
DROP = f"""{_ONCE}
local before = done_before(KEYS[5], ARGV[4], ARGV[5])
if before then return before end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
local was_held = redis.call('GET', KEYS[1]) == ARGV[1]
if was_held then redis.call('DEL', KEYS[1]) end
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then redis.call('SREM', KEYS[4], ARGV[2]) end
return remember(KEYS[5], ARGV[4], ARGV[5], was_held and '1' or '0', ARGV[3])
"""
