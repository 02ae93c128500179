-- For wrk, as scripts/compare.sh calls it:
--
--     wrk -s bench/wrk/mix.lua URL -- JSON
--
-- Of twenty requests, twelve GET one product, the one at URL; four GET a page of a
-- hundred, three POST the JSON as a new product, and one is GET /health. How they
-- went is told as load.lua tells it.

dofile("bench/wrk/load.lua")

local requests, number = {}, 0

function init(args)
   local product = wrk.format("GET")
   local page = wrk.format("GET", "/api/products?limit=100")
   local json = { ["Content-Type"] = "application/json" }
   local create = wrk.format("POST", "/api/products", json, args[1])
   local health = wrk.format("GET", "/health")
   -- In turn, and evenly: two connections never do the same for long.
   requests = {
      product, page, product, create, product, product, page, product, product, health,
      product, page, product, create, product, product, page, product, product, create,
   }
end

function request()
   number = number % #requests + 1
   return requests[number]
end
