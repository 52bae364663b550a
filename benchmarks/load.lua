-- Requests to many paths in turn, and a record of how they ended; read by benchmarks/load.py.
-- Arguments: "keep" or "close", then the paths.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   requests = {}
   for place = 2, #args do
      local headers = { ["Host"] = wrk.headers["Host"] or wrk.host }
      if args[1] == "close" then
         headers["Connection"] = "close"
      end
      table.insert(requests, wrk.format("GET", args[place], headers))
   end
   turn = 0
   statuses = ""
   counts = {}
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

-- Only what is no success is counted one by one: wrk counts all of them by itself.
function response(status)
   if status ~= 200 then
      counts[status] = (counts[status] or 0) + 1
      local said = {}
      for each, count in pairs(counts) do
         table.insert(said, string.format('"%d": %d', each, count))
      end
      statuses = table.concat(said, ", ")
   end
end

-- The whole histogram is given, as percentiles of several processes cannot be joined.
function done(summary, latency, requests)
   local said = {}
   for _, thread in ipairs(threads) do
      table.insert(said, "{" .. (thread:get("statuses") or "") .. "}")
   end
   local slots = {}
   for place = 1, #latency do
      local value, count = latency(place)
      table.insert(slots, string.format("[%d, %d]", value, count))
   end
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "micros": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, ' ..
      '"statuses": [%s], "latencies": [%s]}\n',
      summary.requests, summary.duration, errors.connect, errors.read, errors.write,
      errors.timeout, table.concat(said, ", "), table.concat(slots, ", ")))
end
