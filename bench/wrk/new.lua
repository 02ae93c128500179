-- For wrk, as scripts/figures.sh calls it:
--
--     wrk -s bench/wrk/new.lua URL
--
-- Each request GETs another target, the path of URL with another query, so that no
-- cache has the response. How they went is told as load.lua tells it.

dofile("bench/wrk/load.lua")

local parts, number

function init(args)
   local get = wrk.format("GET", wrk.path .. "?new=#")
   local at = get:find("#", 1, true)
   parts = { get:sub(1, at - 1), get:sub(at + 1) }
   -- Each thread has another range, and so has each run.
   math.randomseed(os.time())
   number = math.random(0, 999) * 1000000
end

function request()
   number = number + 1
   return parts[1] .. number .. parts[2]
end
