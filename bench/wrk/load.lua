-- For wrk, as scripts/compare.sh and scripts/figures.sh call it:
--
--     wrk -s bench/wrk/load.lua URL                     GETs the URL
--     wrk -s bench/wrk/load.lua URL -- JSON             POSTs the JSON
--     wrk -s bench/wrk/load.lua URL -- JSON COUNT       POSTs it so many times
--
-- Each # in the JSON is a number of seven digits, another one in each request.
-- wrk cannot stop at a count: what follows after COUNT is GET /health.

function init(args)
   local json, count = args[1], tonumber(args[2])
   if not json then
      return
   end
   wrk.method, wrk.body = "POST", json
   wrk.headers["Content-Type"] = "application/json"
   if not json:find("#") then
      return
   end

   -- The request is put together from ready pieces: wrk shares the machine with
   -- what it measures. Seven digits always, so that the length never changes.
   wrk.body = json:gsub("#", "0000000")
   local post = wrk.format()
   local head = post:sub(1, #post - #wrk.body)
   local get = wrk.format("GET", "/health", wrk.headers, "")
   -- wrk asks for one request before the first, to look at it, and drops it.
   local number = -1

   function request()
      number = number + 1
      if count and number > count then
         return get
      end
      return head .. json:gsub("#", string.format("%07d", number))
   end
end

-- One line for bench/src/measure/load.rs: requests, microseconds, failures, and the latency in
-- microseconds that half and 99 in a hundred requests stay below.
function done(summary, latency)
   local errors = summary.errors
   local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   print("figures", summary.requests, summary.duration, failures,
      latency:percentile(50), latency:percentile(99))
end
