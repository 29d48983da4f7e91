-- Requests for wrk. Arguments after `--`: kind of request, first user, number of users, a seed of this run.
-- Fields have a fixed width, so that a request is a few joined strings: whatever wrk computes, the service lacks.

local kind, first_user, users
local authorization = "Authorization: Bearer " .. (os.getenv("BENCH_API_KEY") or "") .. "\r\n"
local threads = 0

function setup(thread)
  thread:set("thread_number", threads)
  threads = threads + 1
end

local function request_of(method, path, body, more)
  local head = method .. " " .. path .. " HTTP/1.1\r\nHost: localhost\r\n" .. authorization .. (more or "")
  if not body then return head .. "\r\n" end
  return head .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

local random, format = math.random, string.format

-- Random as clients' keys are: a key that only counts up would spare the index.
local function new_key()
  return format("%08x%08x%08x%08x", random(0, 2147483646), random(0, 2147483646), random(0, 2147483646),
    random(0, 2147483646))
end

local function movement(user)
  return '{"user_id":' .. user .. ',"amount":' .. random(100, 999) .. ',"idempotency_key":"' .. new_key() .. '"}'
end

local function any_user() return random(first_user, first_user + users - 1) end

local bulk_items = 1000
local makers = {
  noop = function() return request_of("POST", "/noop", movement(any_user())) end,
  charge = function() return request_of("POST", "/charge", movement(any_user())) end,
  hot = function() return request_of("POST", "/charge", movement('"hot"')) end,
  withdraw = function() return request_of("POST", "/withdraw", movement(any_user())) end,
  balance = function() return request_of("GET", "/balance/" .. any_user()) end,
  transactions = function() return request_of("GET", "/transactions/" .. any_user()) end,
  bulk = function()
    local items = {}
    for i = 1, bulk_items do items[i] = movement(any_user()) end
    return request_of("POST", "/charges", "[" .. table.concat(items, ",") .. "]")
  end,
}

local function transfer(payer, payee)
  return request_of("POST", "/transfers", '{"from_user_id":' .. payer .. ',"to_user_id":' .. payee
    .. ',"amount":1,"idempotency_key":"' .. new_key() .. '"}')
end

makers.transfer = function()
  local payer = any_user()
  return transfer(payer, payer == first_user and first_user + 1 or payer - 1)
end
makers.transfer_hot = function() return transfer(any_user(), '"hot"') end
makers.entries = function() return request_of("GET", "/wallets/" .. any_user() .. "/entries?limit=20") end
makers.list = function() return request_of("GET", "/charges?limit=20&user_id=" .. any_user()) end

-- One charge in a hundred is a withdrawal that nobody can pay: it is refused.
function makers.refused()
  if random(1, 100) > 1 then return makers.charge() end
  return request_of("POST", "/withdraw", '{"user_id":' .. any_user() .. ',"amount":900000000000000,"idempotency_key":"'
    .. new_key() .. '"}')
end

-- What an answer names is used by the next request: holds are captured, charges reversed.
local opened, used = {}, 0
local follow_ups = {
  hold = function(id) return request_of("POST", "/holds/" .. id .. "/capture", '{"to_user_id":"hot","idempotency_key":"'
    .. new_key() .. '"}') end,
  reversal = function(id) return request_of("POST", "/charges/" .. id .. "/reverse", '{"idempotency_key":"'
    .. new_key() .. '"}') end,
}
function makers.hold()
  return request_of("POST", "/holds", '{"user_id":' .. any_user() .. ',"amount":1,"idempotency_key":"' .. new_key() .. '"}')
end
makers.reversal = makers.charge

-- 60 % charges, 36 % reads (two balances for each page), 4 % withdrawals.
function makers.mix()
  local draw = random(1, 100)
  if draw <= 60 then return makers.charge() end
  if draw <= 84 then return makers.balance() end
  if draw <= 96 then return makers.transactions() end
  return makers.withdraw()
end

function init(arguments)
  kind = makers[arguments[1]]
  follow_up = follow_ups[arguments[1]]
  if follow_up then
    function response(status, headers, body)
      local id = body:match('^{"id":"([%x-]+)"')
      if id and body:find('"status":"open"', 1, true) or id and body:find('"type":"charge"', 1, true) then
        opened[#opened + 1] = id
      end
    end
  end
  first_user, users = tonumber(arguments[2]), tonumber(arguments[3])
  math.randomseed(tonumber(arguments[4]) + 7919 * thread_number)
end

function request()
  if used < #opened then
    used = used + 1
    return follow_up(opened[used])
  end
  return kind()
end

-- One line of JSON that lab/bench/load.py reads.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(format(
    'WRK {"requests":%d,"seconds":%.6f,"bad_statuses":%d,"socket_errors":%d,"p50_ms":%.3f,"p99_ms":%.3f,"mean_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.mean / 1e3))
end
